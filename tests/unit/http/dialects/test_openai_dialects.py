"""OpenAI's API as others write it: names, seeds, models and conversations, before any model is asked."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Scope

from access.bearer import bearer_key
from api.openai.chat.forms import MAX_MESSAGES
from api.openai.chat.turns import turn_of
from api.openai.foreign_fields import translated
from api.openai.image_references import without_references
from api.openai.naming import entry_for, stand_in_hint
from core.errors import InvalidRequest, UnknownModel
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from tests.support.resolving import TINY_ENTRY
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS

EDITING = Entry.model_validate(
    {**ENTRY_FIELDS, "id": "editing", "family": "flux2-klein", "source": {"path": "weights"}, "tasks": {"edit": None}}
    | {"defaults": {**DEFAULTS, "scheduler": "flow_euler"}}
)
CATALOGUE = Catalogue([EDITING, TINY_ENTRY], {"dall-e-2": "tiny"})
DATA = "data:image/png;base64,AAAA"
MAX_CHARS = 100
PICTURE = {"type": "image_url", "image_url": {"url": DATA}}


class TestNames:
    def test_of_others_become_ours(self) -> None:
        sent = {"steps": 3, "cfg": 2.5, "samplerName": "euler", "negativePrompt": "dark", "aspectRatio": "1:1", "n": 2}
        assert translated(sent).fields == {
            "num_inference_steps": 3,
            "guidance_scale": 2.5,
            "scheduler": "euler",
            "negative_prompt": "dark",
            "aspect_ratio": "1:1",
            "n": 2,
        }

    def test_that_say_two_things_are_refused_and_nulls_say_nothing(self) -> None:
        assert translated({"steps": None, "num_inference_steps": 4}).fields == {"num_inference_steps": 4}
        assert translated({"steps": 4, "num_inference_steps": 4}).fields == {"num_inference_steps": 4}
        with pytest.raises(InvalidRequest, match="another name for num_inference_steps"):
            translated({"steps": 3, "num_inference_steps": 4})

    def test_that_mean_nothing_here_are_hints(self) -> None:
        sent = translated({"generator_device": "cuda", "prompt": "a"})
        assert (sent.fields, sent.hints) == (
            {"prompt": "a"},
            ("generator_device is ignored: noise does not depend on the device",),
        )


@pytest.mark.parametrize("seed", ["7", "-1", " 7 ", 7, 7.0, -1, None, [1], True])
def test_what_may_be_a_number_stays_for_the_form_to_check(seed: Any) -> None:
    assert translated({"seed": seed}).fields.get("seed") == seed


def test_a_text_is_always_the_same_seed() -> None:
    seeds = [translated({"seed": text}).fields["seed"] for text in ("aB3dE6gH", "aB3dE6gH", "aB3dE6gI", "\ud800")]
    assert seeds[0] == seeds[1] != seeds[2]
    assert all(0 <= seed < 2**32 for seed in seeds)


class TestModels:
    @pytest.mark.parametrize("name", ["dall-e-3", "DALL-E-3", "gpt-image-1", "openai/gpt-5-image", "o4-mini", "sora-2"])
    def test_that_openai_has_are_stood_in_for_by_one_that_can(self, name: str) -> None:
        for task, model in ((Task.TEXT_TO_IMAGE, "tiny"), (Task.EDIT, "editing")):
            entry = entry_for(CATALOGUE, name, {task})
            assert entry.id == model
            assert stand_in_hint(CATALOGUE, name, entry) == f"model: {name} is not here; {model} stands in for it"

    def test_that_are_served_under_such_a_name_are_meant(self) -> None:
        assert entry_for(CATALOGUE, "dall-e-2", {Task.EDIT}).id == "tiny"
        assert stand_in_hint(CATALOGUE, "dall-e-2", TINY_ENTRY) is None

    @pytest.mark.parametrize("name", ["sd-turbo", "openai/clip", "gpts", "sorated", "my-gpt-image", ""])
    def test_of_any_other_name_are_unknown(self, name: str) -> None:
        with pytest.raises(UnknownModel):
            entry_for(CATALOGUE, name, {Task.TEXT_TO_IMAGE})

    def test_without_a_name_or_a_task_are_the_first(self) -> None:
        assert entry_for(CATALOGUE, None, {Task.TEXT_TO_IMAGE}).id == "tiny"
        assert entry_for(CATALOGUE, None, {Task.TEXT_TO_VIDEO}).id == "editing"


class TestConversations:
    def test_ask_for_what_their_user_said_last(self) -> None:
        parts = [{"type": "text", "text": "blue"}, {"type": "image_url", "image_url": {"url": DATA}}]
        parts += [{"type": "input_text", "text": "and round"}, {"type": "input_image", "image_url": DATA}]
        messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
        turn = turn_of([*messages, {"role": "assistant", "content": "yes"}], "messages", MAX_CHARS)
        assert (turn.prompt, turn.images, turn.is_alone) == ("blue\nand round", (DATA, DATA), False)

    def test_know_the_last_images_before(self) -> None:
        old, new = DATA, f"{DATA}AAAA"
        items = [
            {"role": "assistant", "images": [{"type": "image_url", "image_url": {"url": old}}]},
            {"type": "image_generation_call", "id": "ig_1", "result": new},
            {"role": "user", "content": "blue"},
        ]
        assert turn_of(items, "input", MAX_CHARS).earlier == (new,)
        assert turn_of([items[0], items[2]], "input", MAX_CHARS).earlier == (old,)
        assert turn_of("blue", "input", MAX_CHARS).earlier == ()

    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            ([{"role": "user", "content": "a"}] * (MAX_MESSAGES + 1), "messages: has 10001 messages; at most 10000"),
            ([{"role": "user", "content": "a" * 101}], r"messages\[0\].content: has 101 characters; at most 100"),
            ([{"role": "user", "content": [PICTURE] * 17}], r"messages\[0\].content: 17 were given; at most 16"),
            (
                [{"role": "assistant", "images": [PICTURE] * 17}, {"role": "user", "content": "a"}],
                r"messages\[0\].images: 17 were given; at most 16",
            ),
        ],
    )
    def test_have_limits(self, messages: list[dict[str, Any]], reason: str) -> None:
        with pytest.raises(InvalidRequest, match=reason):
            turn_of(messages, "messages", MAX_CHARS)

    def test_that_are_one_text_have_its_limit(self) -> None:
        with pytest.raises(InvalidRequest, match="input: has 101 characters; at most 100 are allowed"):
            turn_of("a" * 101, "input", MAX_CHARS)


def test_references_in_a_form_are_those_of_json() -> None:
    form = {"input_reference[image_url]": DATA, "prompt": "a", "other[image_url]": "x"}
    assert without_references(form) == {"input_reference": DATA, "prompt": "a", "other[image_url]": "x"}
    with pytest.raises(InvalidRequest, match=r"input_reference\.file_id: is not supported"):
        without_references({"input_reference[file_id]": "file-1"})


@pytest.mark.parametrize(
    ("headers", "key"),
    [({"api-key": "KEY"}, "KEY"), ({"authorization": "Bearer OWN", "api-key": "KEY"}, "OWN"), ({}, "")],
)
def test_a_key_may_come_as_azure_sends_it(headers: dict[str, str], key: str) -> None:
    scope: Scope = {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
    assert bearer_key(scope) == key
