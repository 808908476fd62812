"""Finds the model and task that a request means if it does not give our names for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import UnknownModel
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry


def first_able(catalogue: Catalogue, is_able: Callable[[Entry], bool]) -> Entry:
    """Return the first model that is able, or else the default, whose inability the request's check then reports."""
    return next(filter(is_able, catalogue.entries.values()), catalogue.default)


def first_task(entry: Entry, *tasks: Task) -> Task:
    """Return the first of these tasks that a model does, or else the first one, which the check then refuses."""
    return next((task for task in tasks if task in entry.tasks), tasks[0])


def meant(catalogue: Catalogue, model: str | None, tasks: Sequence[Task]) -> tuple[Entry, Task]:
    """Return the model and the task of a request that could mean any of `tasks`, in order of preference.

    If it names no model, that is the first one that does the preferred task. Raises UnknownModel.
    """
    entries = list(catalogue.entries.values()) if model is None else [catalogue.get(model)]
    found = ((entry, task) for task in tasks for entry in entries if task in entry.tasks)
    return next(found, (entries[0], tasks[0]))


def entry_named(catalogue: Catalogue, *spellings: str) -> Entry:
    """Return the model by the first of these spellings of its name that is known. Raises UnknownModel."""
    found = next(filter(None, map(catalogue.named, spellings)), None)
    if found is None:
        raise UnknownModel(spellings[0], list(catalogue.entries))
    return found
