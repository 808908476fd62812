"""The client's parameters are the server's: the same names, of the same types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel, TypeAdapter

from api.jobs.forms import JobForm
from api.typed import forms
from client import parameters
from client.parameters import AnyImageSource, VideoSource
from core.generation.hires import Hires
from core.generation.request import Lora
from storyboard.characters import Character
from storyboard.story import GivenScene, Story

OWN = {
    "TextToImage": {"prompt", "task"},
    "ImageToImage": {"prompt", "task", "image"},
    "Inpaint": {"prompt", "task", "image", "mask"},
    "Edit": {"prompt", "task", "images"},
    "TextToVideo": {"prompt", "task"},
    "ImageToVideo": {"prompt", "task", "image"},
    "Stream": {"prompt", "task"},
    "Story": {"prompt"},
}
"""What a method has arguments of its own for, or sends by itself."""
VIDEOS = {"pose_video", "face_video", "background_video", "mask_video"}
FILES = {"image", "mask", "images", "last_image", "reference_image", "control_image", *VIDEOS}


def form_of(name: str) -> type[BaseModel]:
    return Story if name == "Story" else getattr(forms, name)


def kinds(annotation: Any) -> set[str]:
    """Return what JSON a type may be, `null` aside: the values of choices, or else names of types."""
    schema = TypeAdapter(annotation).json_schema()
    return set(_kinds(schema, schema.get("$defs", {}))) - {"null"}


def _kinds(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield from _kinds(known[schema["$ref"].rpartition("/")[2]], known)
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _kinds(each, known)
    elif schema["type"] == "string" and "enum" in schema:
        yield from schema["enum"]
    elif schema["type"] == "array":
        yield from (f"{each}s" for each in _kinds(schema["items"], known))
    else:
        yield schema["type"]


@pytest.mark.parametrize("name", OWN)
def test_names_and_types_are_those_of_the_form(name: str) -> None:
    hints, fields = get_type_hints(getattr(parameters, name)), form_of(name).model_fields
    assert set(hints) == set(fields) - OWN[name]
    plain = hints.keys() - FILES - {"loras", "hires", "scenes", "characters"}
    assert {each: kinds(hints[each]) for each in plain} == {each: kinds(fields[each].annotation) for each in plain}
    sources = {name: VideoSource if name in VIDEOS else AnyImageSource for name in FILES - {"images"}}
    assert all(set(get_args(sources[each])) <= set(get_args(hints[each])) for each in hints.keys() & sources.keys())


def test_jobs_have_those_of_their_form_and_of_stories() -> None:
    story = set(get_type_hints(parameters.Story))
    jobs = set(JobForm.model_fields) - {"prompt", "task"}
    assert set(get_type_hints(parameters.Background)) == jobs | story


def test_so_has_a_second_pass() -> None:
    hints, fields = get_type_hints(parameters.Hires), Hires.model_fields
    assert hints == {name: field.annotation for name, field in fields.items()}


def test_so_have_scenes() -> None:
    assert get_type_hints(parameters.Scene).keys() == GivenScene.model_fields.keys()
    assert parameters.Scene.__required_keys__ == {
        name for name, field in GivenScene.model_fields.items() if field.is_required()
    }


def test_so_have_characters() -> None:
    hints = get_type_hints(parameters.Character)
    assert hints == {name: field.annotation for name, field in Character.model_fields.items()}
    assert parameters.Character.__required_keys__ == {
        name for name, field in Character.model_fields.items() if field.is_required()
    }


def test_so_have_loras() -> None:
    hints = get_type_hints(parameters.Lora)
    assert hints == {name: field.annotation for name, field in Lora.model_fields.items()}
    assert parameters.Lora.__required_keys__ == {
        name for name, field in Lora.model_fields.items() if field.is_required()
    }
