"""Count what models of the catalogue need, all or those named, and write `models/catalogue/memory/figures.yaml`: after
a new model, which needs a `memory_gib` of its own until then, or a new version of diffusers. Takes minutes.
"""

from __future__ import annotations

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


def main(wanted: Sequence[str]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    catalogue, figures = load_catalogue(*SHIPPED), yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for model in wanted or architectures().models:
        figures[model] = counted(catalogue.get(model))
        log.info("%s: %s", model, figures[model])
    ordered = {model: figures[model] for model in architectures().models}
    text = yaml.safe_dump(ordered, sort_keys=False, default_flow_style=None, width=120)
    FILE.write_text(HEADER + text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
