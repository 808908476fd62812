"""Count what all models of the catalogue need, or those named, and write `models/catalogue/memory/figures.yaml`.

Run it after adding a model, which needs a `memory_gib` of its own until then, or for a new version of diffusers. It
takes minutes. `--check` writes nothing, and fails if the figures differ from the file's.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import yaml

from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.memory.figures import FILE
from models.weights.counting.count import counted
from models.weights.counting.modules import architectures

HEADER = "# Written by `make figures`; models/catalogue/memory/figures.py says what these are.\n\n"
log = logging.getLogger("jubako.counting")


def main(arguments: Sequence[str]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m models.weights.counting")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    chosen = parser.parse_args(arguments)
    catalogue, fresh = load_catalogue(*SHIPPED), {}
    for model in chosen.models or architectures().models:
        fresh[model] = counted(catalogue.get(model))
        log.info("%s: %s", model, fresh[model])
    written = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    if not chosen.check:
        _write(written | fresh)
    elif changed := [model for model, figures in fresh.items() if figures != written.get(model)]:
        sys.exit(f"{FILE.name} has other figures of {', '.join(changed)}: run `make figures`")


def _write(figures: dict[str, dict[str, object]]) -> None:
    ordered = {model: figures[model] for model in architectures().models}
    text = yaml.safe_dump(ordered, sort_keys=False, default_flow_style=None, width=120)
    FILE.write_text(HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
