"""The catalogue: which models exist, where their weights are, what each can do and how far it may go.

It is data: `checkpoints/*.yaml`, and whatever file the operator adds. This module reads and checks it. Nothing here
imports torch or diffusers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from core.errors import StartError, UnknownModel
from core.validation import Strict, did_you_mean, mistakes_text
from models.catalogue.added.embedding_folder import read_embedding_folder
from models.catalogue.added.lora_folder import LoraFolder
from models.catalogue.addons import EmbeddingSpec
from models.catalogue.entry import Entry
from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.limits import Defaults
from models.catalogue.memory.figures import Figures, figures_of
from models.catalogue.memory.needs import HERE, default_request, needed_gib
from models.catalogue.memory.options import Memory

SHIPPED_FOLDER = Path(__file__).parent / "checkpoints"
SHIPPED = tuple(sorted(SHIPPED_FOLDER.glob("*.yaml")))
CARRIED = Path(__file__).parent / "carried.yaml"
"""Lists the models whose weights are part of this Bento (`deploy.image.carrying`); absent in the repository."""


ANY = "*"
"""The alias of the model that stands in for all unknown names."""


class CatalogueError(StartError):
    """A catalogue file is wrong; the message names the file, the entry and the field."""


class Catalogue:
    """Entries by id, in the order in which they are served; the first is the default.

    If two entries share an alias, the first gets it; an id always means its own entry. Names ignore case. The alias `*`
    stands for all unknown names.
    """

    def __init__(
        self, entries: Iterable[Entry], aliases: Mapping[str, str] | None = None, notes: Iterable[str] = ()
    ) -> None:
        """`aliases` are the operator's own: entry ids, by the names that callers may use."""
        self.notes = tuple(notes)
        """What was skipped while reading, for the operator to fix."""
        self.entries: Mapping[str, Entry] = {entry.id: entry for entry in entries}
        shipped = {alias: entry.id for entry in reversed(self.entries.values()) for alias in entry.other_names}
        self.aliases: Mapping[str, str] = {
            alias: model for alias, model in {**shipped, **(aliases or {})}.items() if alias not in self.entries
        }
        self._ids = {alias.lower(): model for alias, model in self.aliases.items()}
        self._ids |= {model: model for model in self.entries}
        # Unlike names, paths are case-sensitive.
        self._pointers = {text: entry.id for entry in self.entries.values() for text in entry.pointers}

    @property
    def default(self) -> Entry:
        return next(iter(self.entries.values()))

    def get(self, model: str) -> Entry:
        """Return an entry by its id or an alias, or raise UnknownModel."""
        found = self.named(model)
        if found is None:
            raise UnknownModel(model, list(self.entries))
        return found

    def named(self, model: str) -> Entry | None:
        """Return an entry by its id, an alias, or the place that the operator pointed at; or None."""
        known = self._pointers.get(model) or self._ids.get(model.lower())
        return self.entries.get(known or self._ids.get(ANY, ""))

    def only(self, models: Iterable[str], aliases: Mapping[str, str] | None = None) -> Catalogue:
        """Return the catalogue of these models alone, in this order, with the operator's aliases.

        Raises CatalogueError for what is not in the catalogue.
        """
        served = Catalogue(self.find(model) for model in models)
        own: dict[str, str] = {}
        for alias, model in (aliases or {}).items():
            entry = served.named(model)
            if entry is None:
                raise CatalogueError(f"alias {alias!r}: {model!r} is not one of the served models")
            own[alias] = entry.id
        return Catalogue(served.entries.values(), own, self.notes)

    def find(self, model: str) -> Entry:
        """Return the entry that an operator names, or raise CatalogueError."""
        found = self.named(model)
        if found is None:
            hint = did_you_mean(model, self._ids) or "; `python -m models` lists them"
            raise CatalogueError(f"the catalogue has no model {model!r}{hint}")
        return found


def load_catalogue(*files: Path) -> Catalogue:
    """Read catalogue files; an entry replaces any of the same id in earlier files.

    Raises CatalogueError with everything that is wrong in the first bad entry.
    """
    return Catalogue(entry for file in files for entry in (_shipped(file) if file in SHIPPED else _read_file(file)))


def full_catalogue(
    own: Path | None, lora_folder: Path | None = None, embedding_folder: Path | None = None
) -> Catalogue:
    """Read the shipped catalogue, what this Bento carries, the operator's own file, and what is in their folders.

    Raises CatalogueError.
    """
    return with_folders(read_catalogue(own), lora_folder, embedding_folder)


def read_catalogue(own: Path | None) -> Catalogue:
    """Read the shipped catalogue, what this Bento carries, and the operator's own file. Raises CatalogueError."""
    catalogue = load_catalogue(*SHIPPED, *([CARRIED] if CARRIED.exists() else []), *([own] if own else []))
    for entry in catalogue.entries.values():
        if entry.base is not None and entry.base not in catalogue.entries:
            raise CatalogueError(f"{entry.id}: base: the catalogue has no model {entry.base!r}")
    return catalogue


def with_folders(catalogue: Catalogue, lora_folder: Path | None, embedding_folder: Path | None) -> Catalogue:
    """Return the catalogue with what is in the operator's folders. Raises CatalogueError."""
    if embedding_folder is not None:
        catalogue = _with_embeddings(catalogue, embedding_folder)
    return catalogue if lora_folder is None else _with_lora_folder(catalogue, lora_folder)


def _with_embeddings(catalogue: Catalogue, folder: Path) -> Catalogue:
    if not folder.is_dir():
        raise CatalogueError(f"{folder}: there is no such folder of embeddings")
    notes: list[str] = []
    added: dict[str, dict[str, EmbeddingSpec]] = {}
    for model, token, embedding in read_embedding_folder(folder, catalogue.named, notes):
        added.setdefault(model, {})[token] = embedding
    notes = [f"JUBAKO_EMBEDDING_FOLDER: {note}" for note in notes]
    completed = (
        entry.model_copy(update={"embeddings": {**entry.embeddings, **added.get(entry.id, {})}})
        for entry in catalogue.entries.values()
    )
    return Catalogue(completed, notes=[*catalogue.notes, *notes])


def _with_lora_folder(catalogue: Catalogue, folder: Path) -> Catalogue:
    if not folder.is_dir():
        raise CatalogueError(f"{folder}: there is no such folder of LoRAs")
    found = LoraFolder(folder, catalogue.named)
    completed = (entry.with_folder(found) for entry in catalogue.entries.values())
    notes = [f"JUBAKO_LORA_FOLDER: {note}" for note in found.notes]
    return Catalogue(completed, notes=[*catalogue.notes, *notes])


def carried_models() -> tuple[str, ...]:
    """Return the ids of the models that this Bento carries, which it serves by default."""
    return tuple(load_catalogue(CARRIED).entries) if CARRIED.exists() else ()


@cache
def _shipped(file: Path) -> list[Entry]:
    """Read a shipped file once, since each process needs it several times at startup."""
    return _read_file(file)


def _read_file(file: Path) -> list[Entry]:
    try:
        text = file.read_text(encoding="utf-8")
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        _refuse_repetitions(node)
        data = None if node is None else loader.construct_document(node)
    except OSError as error:
        raise CatalogueError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CatalogueError(f"{file}: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or not data:
        raise CatalogueError(f"{file}: expected a mapping from model ids to entries")
    return [_read_entry(file, str(model), fields) for model, fields in data.items() if not str(model).startswith("_")]


def _refuse_repetitions(node: yaml.Node | None, place: str = "") -> None:
    """Raise ValueError for a repeated key, of which YAML would silently take the last."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repetitions(item, place)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        name = f"{place}{key.value}"
        if name in seen:
            raise ValueError(f"{name}: is given twice, again in line {key.start_mark.line + 1}")
        seen.add(name)
        _refuse_repetitions(value, f"{name}.")


def _read_entry(file: Path, model: str, fields: object) -> Entry:
    try:
        return _checked_entry(file.parent, model, fields)
    except ValidationError as error:
        raise CatalogueError(f"{file}: {model}: {mistakes_text(error, _field_names())}") from error
    except ValueError as error:
        raise CatalogueError(f"{file}: {model}: {error}") from error


def _checked_entry(folder: Path, model: str, fields: object) -> Entry:
    if not isinstance(fields, dict):
        raise ValueError("expected a mapping of fields")  # noqa: TRY004  # a mistake in a file, not in a call
    if "id" in fields:
        raise ValueError("id: is the entry's key, and no field")
    known = _counted_fields(figures_of(model) if folder == SHIPPED_FOLDER else _figures_like(fields), fields)
    entry = Entry.model_validate({"id": model, **known, **_inline_preview(folder, fields)}).under(folder)
    if entry.vocabulary is not None:
        words = _read_json("vocabulary", entry.vocabulary)
        if not isinstance(words, dict) or not isinstance(words.get("words"), list):
            raise ValueError(f"vocabulary: {entry.vocabulary} has no list of `words`")
    return entry


def _counted_fields(figures: Figures | None, fields: dict[str, Any]) -> dict[str, Any]:
    if figures is None:
        return {}
    try:
        memory = Memory.model_validate(fields.get("memory", {}))
        defaults = Defaults.model_validate(fields["defaults"])
    except ValidationError:
        # Refused with the whole entry.
        return {}
    request = default_request(fields["family"], defaults.guidance_scale, defaults.num_frames)
    components = fields.get("components")
    needed = needed_gib(figures, memory, request, components if isinstance(components, dict) else {})
    return {"figures": figures.model_dump(), "memory_gib": needed[HERE]}


def _figures_like(fields: dict[str, Any]) -> Figures | None:
    """Return the figures of the shipped model that has the same weights, precision and default size as these fields."""
    if any(fields.get(name) for name in ("vae", *TEXT_ENCODERS)):
        return None
    model = _counted_models().get(_what_is_counted(fields))
    return None if model is None else figures_of(model)


@cache
def _counted_models() -> Mapping[str, str]:
    shipped = reversed(list(load_catalogue(*SHIPPED).entries.values()))
    return {_what_is_counted(entry.model_dump(mode="json")): entry.id for entry in shipped if entry.figures}


def _what_is_counted(fields: dict[str, Any]) -> str:
    """Return a key that is equal for entries with equal figures; the fields may still be invalid."""
    source, defaults = fields.get("source"), fields.get("defaults")
    known = [source.get("repo"), source.get("file")] if isinstance(source, dict) else []
    size = [defaults.get(name) for name in ("width", "height")] if isinstance(defaults, dict) else []
    frames = defaults.get("num_frames", 1) if isinstance(defaults, dict) else 1
    return json.dumps([known, fields.get("family"), fields.get("dtype"), size, frames], default=str)


def _inline_preview(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Replace a preview that names a JSON file, which training writes beside the weights, by its contents."""
    if not isinstance(fields.get("preview"), str):
        return fields
    return {**fields, "preview": _read_json("preview", folder / fields["preview"])}


def _read_json(field: str, file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{field}: {file}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{field}: {file} is not JSON: {error}") from error


def _field_names() -> set[str]:
    """Every field that an entry or a part of it may have."""
    return {name for part in Strict.__subclasses__() for name in part.model_fields}


def unknown_words(entry: Entry, prompt: str, loras: Iterable[str] = ()) -> list[str]:
    """Return the words of a prompt that neither the model nor the named LoRAs were trained on, in order, each once."""
    if entry.words is None:
        return []
    named = entry.choosable_loras
    taught = _words(" ".join([*(named[name].trigger for name in loras if name in named), *entry.embeddings]))
    return [word for word in dict.fromkeys(_words(prompt)) if word not in entry.words.union(taught)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w[\w'-]*", text.lower())
