"""From a contract's form to a draft."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from core.generation.draft import Draft
from core.generation.request import Priority


class SomeForm(BaseModel):
    prompt: str = "an apple"
    seed: int | None = 7
    size: str = "64x32"
    priority: Priority = Priority.LOW


def test_fields_of_one_name_are_taken_over() -> None:
    draft = Draft.of(SomeForm())
    assert (draft.prompt, draft.seed, draft.priority) == ("an apple", 7, Priority.LOW)


def test_what_the_contract_translates_takes_precedence() -> None:
    draft = Draft.of(SomeForm(), width=64, height=32, seed=8)
    assert (draft.width, draft.height, draft.seed) == (64, 32, 8)


def test_a_field_that_no_draft_has_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Draft.of(SomeForm(), colour="red")
