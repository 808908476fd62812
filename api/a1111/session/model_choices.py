"""Which model each caller has chosen by `POST /sdapi/v1/options`; the web UI has one choice for everybody.

Kept in this process: after a restart, or in another gateway, it is the default again. Callers without keys share one.
"""

from __future__ import annotations

import re

from core.caller import current_caller
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import entry_named, first_able

PICTURES = (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.EDIT)
_DECORATION = re.compile(r"\.(safetensors|ckpt)$|( \[[0-9a-f]+\])$")
"""What the web UI appends to a model's name: the file's extension, and its hash."""


class Choices:
    """Models by their callers."""

    def __init__(self) -> None:
        self._models: dict[str, str] = {}

    def choose(self, catalogue: Catalogue, name: str) -> None:
        """Set the caller's model. Raises UnknownModel."""
        self._models[current_caller().owner] = checkpoint_named(catalogue, name).id

    def entry(self, catalogue: Catalogue) -> Entry:
        """Return the caller's model: the first that makes images from prompts, unless one was chosen."""
        chosen = self._models.get(current_caller().owner)
        return catalogue.get(chosen) if chosen is not None else _default(catalogue)


CHOICES = Choices()


def checkpoint_named(catalogue: Catalogue, name: str) -> Entry:
    """Return a model by its name here, or by one that looks like the web UI's. Raises UnknownModel."""
    return entry_named(catalogue, name, _undecorated(name))


def picture_models(catalogue: Catalogue) -> list[Entry]:
    """Return the models that make images, which the web UI's clients can choose."""
    return [entry for entry in catalogue.entries.values() if not entry.tasks.keys().isdisjoint(PICTURES)]


def _default(catalogue: Catalogue) -> Entry:
    return first_able(catalogue, lambda entry: Task.TEXT_TO_IMAGE in entry.tasks)


def _undecorated(name: str) -> str:
    without_hash = _DECORATION.sub("", name.strip())
    return _DECORATION.sub("", without_hash)
