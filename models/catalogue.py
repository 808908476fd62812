"""The catalogue: which models exist, where their weights are, what each can do and how far it may go.

It is data (`catalogue.yaml`); this module reads and checks it. Nothing here imports torch or diffusers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from errors import UnknownModel
from models.families import FAMILIES, Family
from models.request import Task
from models.schedulers import SCHEDULERS


class CatalogueError(ValueError):
    """The catalogue file is wrong; the message names the file, the entry and the field."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known(kind: str, names: Mapping[str, Any]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(sorted(names))}")
        return name

    return AfterValidator(check)


SchedulerName = Annotated[str, _known("scheduler", SCHEDULERS)]


class Source(_Strict):
    """Where the weights are: a local folder, or a repository of the Hugging Face hub."""

    path: Path | None = None
    """A folder; relative to the catalogue file."""
    repo: str | None = None
    revision: str | None = None
    """A commit, tag or branch of `repo`."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.repo is None):
            raise ValueError("give either path or repo")
        return self


class Defaults(_Strict):
    """What a request that leaves a field out gets."""

    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    strength: float = Field(default=0.8, ge=0, le=1)
    scheduler: SchedulerName


class Limits(_Strict):
    """How far a request may go; both ends are allowed values."""

    min_px: int
    """Smallest width or height."""
    max_px: int
    """Largest width or height."""
    max_pixels: int
    """Largest width times height."""
    multiple_px: int
    """Width and height must be multiples of this."""
    max_steps: int = Field(ge=1, le=999)
    """Samplers choose among 1000 training times, and some start behind the last one when asked for all."""
    guidance_scale: tuple[float, float]


class Preview(_Strict):
    """A linear map from one latent (C values) to one RGB pixel in [-1, 1]: `latent @ weight + bias`."""

    weight: tuple[tuple[float, float, float], ...]
    """(C, 3)"""
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Entry(_Strict):
    """One model that can be served."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    family: Annotated[str, _known("family", FAMILIES)]
    source: Source
    dtype: Literal["float32", "float16", "bfloat16"]
    """On an accelerator; a CPU always uses float32."""
    variant: str | None = None
    """The `variant` argument of `from_pretrained`, such as fp16."""
    licence: str
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    defaults: Defaults
    limits: Limits
    batch_tokens: int = Field(ge=1)
    """Latent tokens that one denoiser call may hold."""
    vocabulary: Path | None = None
    """A JSON file whose `words` lists every word the model knows; None for models that know any word."""
    preview: Preview | None = None

    @model_validator(mode="after")
    def _sizes_fit_the_family(self) -> Self:
        multiple = FAMILIES[self.family].size_multiple_px
        if self.limits.multiple_px % multiple:
            raise ValueError(f"limits.multiple_px must be a multiple of {multiple}, as its family needs")
        return self

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(FAMILIES[self.family].pipelines)

    @property
    def family_spec(self) -> Family:
        return FAMILIES[self.family]

    @cached_property
    def words(self) -> frozenset[str] | None:
        """The words the model knows, in lower case; None if it knows any."""
        if self.vocabulary is None:
            return None
        words = json.loads(self.vocabulary.read_text(encoding="utf-8"))["words"]
        return frozenset(word.lower() for word in words)


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


def load_catalogue(file: Path) -> Catalogue:
    """Read a catalogue file, or raise CatalogueError with everything that is wrong in the first bad entry."""
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"{file}: {error}") from error
    if not isinstance(data, dict) or not data:
        raise CatalogueError(f"{file}: expected a mapping from model ids to entries")
    return Catalogue(_read_entry(file, str(model), fields) for model, fields in data.items())


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
    return _with_absolute_paths(entry, file.parent)


def _inline_preview(file: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """A preview may be the name of a JSON file, which training writes beside the weights."""
    if not isinstance(fields.get("preview"), str):
        return fields
    return {**fields, "preview": json.loads((file.parent / fields["preview"]).read_text(encoding="utf-8"))}


def _with_absolute_paths(entry: Entry, folder: Path) -> Entry:
    changes: dict[str, Any] = {}
    if entry.source.path is not None:
        changes["source"] = entry.source.model_copy(update={"path": folder / entry.source.path})
    if entry.vocabulary is not None:
        changes["vocabulary"] = folder / entry.vocabulary
    return entry.model_copy(update=changes)


def unknown_words(entry: Entry, prompt: str) -> list[str]:
    """Return the words of a prompt that the model never saw, in order, each once."""
    if entry.words is None:
        return []
    found = re.findall(r"\w[\w'-]*", prompt.lower())
    return [word for word in dict.fromkeys(found) if word not in entry.words]
