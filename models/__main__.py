"""`python -m models`: what can be served, and whether its weights are on this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from core.errors import LoadFailed, LoadInterrupted, StartError
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.pointing.model_cache import model_cache
from models.catalogue.pointing.pointed_entries import whole_catalogue
from models.catalogue.presence import presence
from models.catalogue.serving.presets import fitted
from models.catalogue.sharing import read_sharing, sharing_file
from models.catalogue.showing.as_yaml import entry_yaml
from models.catalogue.showing.capabilities import capabilities
from models.catalogue.showing.table import print_catalogue, print_entry
from settings import settings

UNBROKEN_COLUMNS = 160
"""The width where stdout is no terminal: one line per model, for grep and for files."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; an operator's mistake is one line on stderr and status 2."""
    options = _parser().parse_args(arguments)
    try:
        catalogue = _catalogue(options)
        for note in catalogue.notes:
            print(f"models: {note}", file=sys.stderr)  # noqa: T201  # a command talks to its terminal
        _run(options, catalogue)
    except (StartError, LoadFailed, LoadInterrupted) as error:
        print(f"models: {error}", file=sys.stderr)  # noqa: T201  # a command talks to its terminal
        return 2
    return 0


def _catalogue(options: argparse.Namespace) -> Catalogue:
    """Return all that can be served, with the model that the command points at."""
    pointed = [options.model] if options.command in ("show", "save", "fetch") else []
    return whole_catalogue(pointed, settings(), again=options.command == "show")


def _run(options: argparse.Namespace, catalogue: Catalogue) -> None:
    console = Console(width=None if sys.stdout.isatty() else UNBROKEN_COLUMNS)
    if options.command == "save":
        _save(catalogue.find(options.model), console)
    elif options.command == "fetch":
        _fetch(catalogue.find(options.model), console)
    elif options.command == "show":
        entry, room_gib = catalogue.find(options.model), settings().fit
        entry = entry if room_gib is None else fitted(entry, room_gib)
        _show(entry, options, console)
    elif options.json:
        _print_json([_facts(entry) for entry in catalogue.entries.values()])
    else:
        print_catalogue(catalogue, console)


def _show(entry: Entry, options: argparse.Namespace, console: Console) -> None:
    if options.yaml:
        sys.stdout.write(entry_yaml(entry))
    elif options.json:
        _print_json(_facts(entry))
    else:
        print_entry(entry, console, _sharing(entry))


def _save(entry: Entry, console: Console) -> None:
    from models.weights.store import save_to_store  # imports torch

    console.print(f"{entry.id} is in BentoML's store as {save_to_store(entry)}", markup=False, soft_wrap=True)


def _fetch(entry: Entry, console: Console) -> None:
    from models.weights.store import fetched  # imports torch

    console.print(f"{entry.id} is on this machine: {fetched(entry)}", markup=False, soft_wrap=True)


def _facts(entry: Entry) -> dict[str, Any]:
    return {**capabilities(entry), "state": presence(entry), "sharing": _sharing(entry)}


def _sharing(entry: Entry) -> Mapping[str, str] | None:
    """Return what the test at the model's first load found, if no family declares the model."""
    kept = read_sharing(sharing_file(model_cache(settings().model_cache).sharing, entry)) if entry.pipeline else None
    return None if kept is None else kept.summary


def _print_json(facts: object) -> None:
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="What can be served; JUBAKO_CATALOGUE names a file with more.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    # A subcommand's own default would overwrite the option given before it.
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    commands = parser.add_subparsers(dest="command", title="commands")
    commands.add_parser("list", parents=[as_json], help="a row for each model (the default)")
    show = commands.add_parser("show", parents=[as_json], help="everything about one model")
    show.add_argument("--yaml", action="store_true", help="print it as an entry to edit for JUBAKO_CATALOGUE")
    save = commands.add_parser("save", help="put a model into BentoML's store, so that a Bento can carry it")
    fetch = commands.add_parser("fetch", help="bring a model's weights to this machine, for a start without the hub")
    for command in (show, save, fetch):
        command.add_argument("model", metavar="MODEL", help="its name in the list, or what JUBAKO_MODELS may have")
    return parser


if __name__ == "__main__":
    sys.exit(main())
