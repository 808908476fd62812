"""The catalogue: which models exist, where their weights are, what each can do and how far it may go.

It is data: `checkpoints/*.yaml`, and whatever file the operator adds. This module reads and checks it. Nothing here
imports torch or diffusers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from errors import UnknownModel
from models.entries import Entry

SHIPPED = tuple(sorted((Path(__file__).parent / "checkpoints").glob("*.yaml")))


class CatalogueError(ValueError):
    """A catalogue file is wrong; the message names the file, the entry and the field."""


class Catalogue:
    """Entries by id, in the order in which they are served; the first is the default."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: Mapping[str, Entry] = {entry.id: entry for entry in entries}

    @property
    def default(self) -> Entry:
        return next(iter(self.entries.values()))

    def get(self, model: str) -> Entry:
        """Return an entry, or raise UnknownModel."""
        if model not in self.entries:
            raise UnknownModel(model, list(self.entries))
        return self.entries[model]

    def only(self, models: Iterable[str]) -> Catalogue:
        """Return the catalogue of these models alone, in this order, or raise UnknownModel."""
        return Catalogue(self.get(model) for model in models)


def load_catalogue(*files: Path) -> Catalogue:
    """Read catalogue files; an entry replaces those of the same id in the files before.

    Raises CatalogueError with everything that is wrong in the first bad entry.
    """
    return Catalogue(entry for file in files for entry in _read_file(file))


def full_catalogue(own: Path | None) -> Catalogue:
    """Read the shipped catalogue and the operator's own file, if there is one. Raises CatalogueError."""
    return load_catalogue(*SHIPPED, *([own] if own else []))


def _read_file(file: Path) -> list[Entry]:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"{file}: {error}") from error
    if not isinstance(data, dict) or not data:
        raise CatalogueError(f"{file}: expected a mapping from model ids to entries")
    return [_read_entry(file, str(model), fields) for model, fields in data.items() if not str(model).startswith("_")]


def _read_entry(file: Path, model: str, fields: object) -> Entry:
    if not isinstance(fields, dict):
        raise CatalogueError(f"{file}: {model}: expected a mapping of fields")
    try:
        entry = Entry.model_validate({"id": model, **_inline_preview(file, fields)})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in error.errors())
        raise CatalogueError(f"{file}: {model}: {wrong}") from error
    except OSError as error:
        raise CatalogueError(f"{file}: {model}: preview: {error}") from error
    entry = entry.under(file.parent)
    if entry.vocabulary is not None and not entry.vocabulary.is_file():
        raise CatalogueError(f"{file}: {model}: vocabulary: there is no file {entry.vocabulary}")
    return entry


def _inline_preview(file: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """A preview may be the name of a JSON file, which training writes beside the weights."""
    if not isinstance(fields.get("preview"), str):
        return fields
    return {**fields, "preview": json.loads((file.parent / fields["preview"]).read_text(encoding="utf-8"))}


def unknown_words(entry: Entry, prompt: str) -> list[str]:
    """Return the words of a prompt that the model never saw, in order, each once."""
    if entry.words is None:
        return []
    found = re.findall(r"\w[\w'-]*", prompt.lower())
    return [word for word in dict.fromkeys(found) if word not in entry.words]
