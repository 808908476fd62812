"""Camera moves: a typed parameter for models that were taught the phrases which stand for them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core.errors import InvalidRequest
from core.generation.camera import CameraMove
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from models.catalogue.catalogue import full_catalogue
from models.catalogue.resolving.resolve import resolve
from models.catalogue.showing.capabilities import capabilities
from tests.support.engine.drawing import photo
from tests.support.resolving import LIMITS_OF_SERVER

CATALOGUE = full_catalogue(None)
MULTI_ANGLE = "qwen-image-multi-angle"


def resolved(model: str = MULTI_ANGLE, **fields: Any) -> GenerationRequest:
    draft = Draft(**{"model": model, "task": Task.EDIT, "images": (photo(size_px=512),), "prompt": "", **fields})
    return resolve(draft, CATALOGUE, LIMITS_OF_SERVER)


def test_the_move_comes_before_the_prompt() -> None:
    request = resolved(camera="rotate-left-45", prompt=" At night. ")
    assert request.prompt == "将镜头向左旋转45度（Rotate the camera 45 degrees to the left.） At night."


@pytest.mark.parametrize("move", CameraMove)
def test_a_move_needs_no_prompt_beside_it(move: CameraMove) -> None:
    prompt = resolved(camera=move.value).prompt
    assert prompt == move.phrase
    assert prompt.startswith("将镜头")


def test_every_move_has_its_own_phrase() -> None:
    assert len({move.phrase for move in CameraMove}) == len(CameraMove)


def test_the_prompt_of_a_picture_can_be_posted_back() -> None:
    first = resolved(camera="close-up", prompt="At night.", seed=7)
    assert resolved(prompt=first.prompt, seed=7) == first


def test_without_a_move_an_image_may_speak_for_itself() -> None:
    assert resolved().prompt == ""


def test_a_model_that_was_not_taught_refuses() -> None:
    with pytest.raises(InvalidRequest, match="camera: qwen-image-edit-2509 was not trained for camera moves"):
        resolved("qwen-image-edit-2509", camera="forward", prompt="At night.")


def test_unknown_moves_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="camera"):
        resolved(camera="backflip")


def test_what_a_model_can_do_names_its_moves() -> None:
    entry = CATALOGUE.get(MULTI_ANGLE)
    assert capabilities(entry)["camera"] == [move.value for move in CameraMove]
    assert capabilities(entry)["loras"] == {}, "the LoRA is part of the model, and not for requests to name"
    assert capabilities(CATALOGUE.get("qwen-image-edit-2509"))["camera"] == []
