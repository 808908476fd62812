"""Which model and task an address of the jobs contract means."""

from __future__ import annotations

from core.errors import InvalidRequest
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry

TASKS = {
    "t2i": Task.TEXT_TO_IMAGE,
    "i2i": Task.IMAGE_TO_IMAGE,
    "inpaint": Task.INPAINT,
    "edit": Task.EDIT,
    "t2v": Task.TEXT_TO_VIDEO,
    "i2v": Task.IMAGE_TO_VIDEO,
}
"""Tasks by their names in addresses."""


def model_and_task(catalogue: Catalogue, entry: Entry, kind: str) -> tuple[Entry, Task]:
    """Return the model and the task of an address; `kind` is one of TASKS.

    `i2i` is an edit on models that edit and have no image-to-image. A task that the model cannot do goes to the model
    it was made from. Raises InvalidRequest if that model is not served.
    """
    task = TASKS[kind]
    if task is Task.IMAGE_TO_IMAGE and task not in entry.tasks and Task.EDIT in entry.tasks:
        return entry, Task.EDIT
    if task in entry.tasks or entry.base is None:
        return entry, task
    base = catalogue.named(entry.base)
    if base is None:
        raise InvalidRequest(
            "task",
            f"{entry.id} cannot do {task}, only {', '.join(entry.tasks)}; {entry.base}, which it was made from, is not "
            f"served here: add {entry.base} to JUBAKO_MODELS",
        )
    return base, task
