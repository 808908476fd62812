"""Which model and task a request means that does not say so by our names."""

from __future__ import annotations

import pytest

from core.errors import UnknownModel
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import entry_named, first_able, first_task, meant
from tests.support.resolving import TINY_ENTRY
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS

EDITING = Entry.model_validate(
    {**ENTRY_FIELDS, "id": "editing", "family": "flux2-klein", "source": {"path": "weights"}, "tasks": {"edit": None}}
    | {"defaults": {**DEFAULTS, "scheduler": "flow_euler"}}
)
CATALOGUE = Catalogue([TINY_ENTRY, EDITING], {"fox": "editing"})


def test_the_preferred_task_chooses_the_model() -> None:
    tasks = (Task.EDIT, Task.IMAGE_TO_IMAGE)
    assert meant(CATALOGUE, None, tasks) == (EDITING, Task.EDIT)
    assert meant(CATALOGUE, "tiny", tasks) == (TINY_ENTRY, Task.IMAGE_TO_IMAGE)
    assert meant(CATALOGUE, None, (Task.TEXT_TO_VIDEO,)) == (TINY_ENTRY, Task.TEXT_TO_VIDEO), "refused with its tasks"


def test_the_first_that_is_able_else_the_default() -> None:
    assert first_able(CATALOGUE, lambda entry: Task.EDIT in entry.tasks) == EDITING
    assert first_able(CATALOGUE, lambda entry: Task.TEXT_TO_VIDEO in entry.tasks) == TINY_ENTRY
    assert first_task(EDITING, Task.INPAINT, Task.EDIT) == Task.EDIT
    assert first_task(EDITING, Task.INPAINT, Task.TEXT_TO_IMAGE) == Task.INPAINT


def test_a_name_is_known_by_any_of_its_spellings() -> None:
    assert entry_named(CATALOGUE, "someone/fox:1", "fox") == EDITING
    with pytest.raises(UnknownModel, match="'someone/cat' is not served here; served: tiny, editing"):
        entry_named(CATALOGUE, "someone/cat", "cat")
