"""What every contract makes of fields that clients write."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from api.openai.forms import GenerationForm
from api.typed.forms import Stream, TextToImage
from core.generation.client_fields import RANDOM_SEEDS, ClientFields
from core.generation.draft import Draft
from core.generation.request import Lora
from storyboard.story import Story

FORMS: tuple[type[BaseModel], ...] = (TextToImage, Stream, Draft, GenerationForm, Story)
STORY = "A fox finds a lantern in the snow"


def form_of(form: type[BaseModel], **fields: Any) -> Any:
    return form.model_validate({"prompt": STORY, **fields})


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_of_minus_one_is_random(form: type[BaseModel]) -> None:
    for value in (-1, "-1"):
        seed = form_of(form, seed=value).seed
        assert seed is None or 0 <= seed < RANDOM_SEEDS
    assert form_of(form, seed=0).seed == 0
    with pytest.raises(ValidationError, match="-1"):
        form_of(form, seed=-2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["seed", "num_inference_steps", "guidance_scale", "priority", "width"])
@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(form: type[BaseModel], name: str, value: bool) -> None:
    if name in form.model_fields:
        with pytest.raises(ValidationError) as caught:
            form_of(form, **{name: value})
        assert [(error["loc"], error["msg"]) for error in caught.value.errors()] == [
            ((name,), "Input should not be true or false")
        ]


def test_true_is_no_scale_and_belongs_where_it_may() -> None:
    with pytest.raises(ValidationError):
        Lora.model_validate({"name": "ink", "scale": True})
    assert form_of(Stream, progress=True).progress is True
    assert form_of(Story, use_ref_guided=True).use_ref_guided is True


def test_everything_that_clients_write_has_these_rules() -> None:
    assert all(issubclass(form, ClientFields) for form in FORMS)
