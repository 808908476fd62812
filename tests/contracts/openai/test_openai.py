"""OpenAI's Images API over a real server, through OpenAI's own clients and as its document writes it."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import httpx2
import numpy as np
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from PIL import Image
from websockets.sync.client import connect

from api.openai.errors import openai_refusal
from core.errors import Busy, Forbidden, JubakoError, OutOfMemory, RunnerLost, TooLarge, UnknownModel
from jobs.errors import TooManyJobs
from tests.support.metadata import read_parameters
from tests.support.raw_sockets import asking
from tests.support.servers.openai_server import MODELS, THEIR_NAMES
from tests.support.servers.replica import Replica
from tests.support.servers.serving import MAX_UPLOAD_BYTES, ROOT, cancelled, photo, png, wait_for
from tests.support.web import WEB

RED_APPLE: dict[str, Any] = {"model": "tiny", "prompt": "a red apple"}
SEED = {"seed": 7}


@pytest.fixture
def server(openai_server: Replica) -> Replica:
    return openai_server


@pytest.fixture(scope="module")
def client(openai_server: Replica) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{openai_server.url}/v1", api_key="not-needed", max_retries=0) as client:
        yield client


def picture(data: str | None) -> Image.Image:
    assert data is not None
    return Image.open(BytesIO(base64.b64decode(data)))


def first(answer: openai.types.ImagesResponse) -> Image.Image:
    assert answer.data is not None
    return picture(answer.data[0].b64_json)


def parameters(answer: openai.types.ImagesResponse) -> dict[str, Any]:
    return read_parameters(first(answer))


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are equal to 1/255: in a shared batch, floats are rounded differently."""
    difference = np.asarray(one).astype(int) - np.asarray(other)
    return bool(np.abs(difference).max() <= 1)


def with_hole() -> Image.Image:
    """A mask as OpenAI wants it: transparent where the right half is to be redrawn."""
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (32, 0, 64, 64))
    return mask


def data_url(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


TINY_URL = data_url(photo())


def running(server: Replica) -> int:
    return sum(model["running"] + model["queued"] for model in server.get("/health").json()["models"])


class TestGenerations:
    def test_a_prompt_becomes_a_picture(self, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, size="128x64")
        assert first(answer).size == (128, 64)
        assert first(answer).format == "PNG"
        assert (answer.size, answer.quality, answer.background) == ("128x64", "medium", "opaque")
        assert answer.output_format == "png"
        assert answer.usage is not None
        # `tiny` has a tokenizer of few words: it spells the others.
        assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (9, 32, 41)

    def test_every_picture_names_the_seed_that_draws_it_again(self, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, n=2)
        assert answer.data is not None
        second: Any = answer.data[1]
        again = client.images.generate(**RED_APPLE, extra_body={"seed": second.seed})
        assert same(first(again), picture(second.b64_json))

    def test_extras_reach_the_pipeline(self, client: OpenAI) -> None:
        extras = {
            "num_inference_steps": 3,
            "guidance_scale": 5.5,
            "negative_prompt": "blue",
            "seed": 11,
            "scheduler": "euler",
            "priority": 0,
        }
        drawn = parameters(client.images.generate(**RED_APPLE, extra_body=extras))
        del extras["priority"]
        assert {name: drawn[name] for name in extras} == extras

    def test_loras_by_name_and_scale(self, client: OpenAI) -> None:
        loras = [{"name": "sketch", "scale": 0.5}, {"name": "frame", "scale": 0.25}]
        drawn = parameters(client.images.generate(model="miniature", prompt="an apple", extra_body={"loras": loras}))
        assert drawn["loras"] == sorted(loras, key=lambda lora: str(lora["name"]))

    @pytest.mark.parametrize(
        ("quality", "steps", "shown"),
        [
            ("auto", 4, "medium"),
            ("low", 2, "low"),
            ("medium", 4, "medium"),
            ("standard", 4, "medium"),
            ("high", 6, "high"),
            ("hd", 6, "high"),
            ("xhigh", 8, "xhigh"),
            ("max", 12, "max"),
        ],
    )
    def test_quality_is_a_number_of_steps(self, quality: Any, steps: int, shown: str, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, quality=quality)
        assert parameters(answer)["num_inference_steps"] == steps
        assert answer.quality == shown

    @pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
    def test_files_in_three_formats(self, output_format: Any, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, output_format=output_format)
        assert first(answer).format == output_format.upper()
        assert answer.output_format == output_format

    def test_compression_makes_files_smaller(self, client: OpenAI) -> None:
        def size(compression: int) -> int:
            answer = client.images.generate(
                **RED_APPLE, output_format="jpeg", output_compression=compression, extra_body=SEED
            )
            assert answer.data is not None
            return len(answer.data[0].b64_json or "")

        assert size(10) < size(100)

    @pytest.mark.parametrize("prefix", ["", "/openai"])
    def test_addresses_lead_to_stored_files(self, prefix: str, server: Replica) -> None:
        with OpenAI(base_url=f"{server.url}{prefix}/v1", api_key="x") as client:
            answer = client.images.generate(**RED_APPLE, response_format="url", output_format="webp", n=2)
        assert answer.data is not None
        urls = [image.url or "" for image in answer.data]
        assert len(set(urls)) == 2
        for url in urls:
            assert url.startswith(f"{server.url}/files/generations/")
            file = WEB.get(url)
            assert file.headers["content-type"] == "image/webp"
            assert Image.open(BytesIO(file.content)).size == (64, 64)

    def test_what_has_no_effect_is_taken_and_the_identifier_comes_back(self, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, moderation="low", background="opaque", user="u", style=None)
        assert answer.safety_identifier == "u"
        both = client.images.generate(**RED_APPLE, user="u", safety_identifier="s")
        assert both.safety_identifier == "s"

    @pytest.mark.parametrize(("n", "format_"), [(9, "png"), (10, "jpeg")])
    def test_as_many_as_openai_makes_in_parts_with_seeds_that_go_on(self, n: int, format_: Any, client: OpenAI) -> None:
        answer = client.images.generate(**RED_APPLE, n=n, output_format=format_, extra_body=SEED)
        images: list[Any] = list(answer.data or [])
        assert [image.seed for image in images] == list(range(7, 7 + n))
        assert answer.usage is not None
        assert answer.usage.output_tokens == 16 * n
        for index in (4, n - 1):
            again = client.images.generate(**RED_APPLE, output_format=format_, extra_body={"seed": 7 + index})
            assert same(first(again), picture(images[index].b64_json))

    def test_models_that_are_called_dall_e_answer_as_it_did(self, client: OpenAI) -> None:
        for model in ("dall-e-2", "DALL-E-3"):
            answer = client.images.generate(model=model, prompt="an apple", style="vivid", quality="standard")
            assert answer.data is not None
            assert (answer.data[0].url or "").startswith("http")
            assert "style is ignored" in str(getattr(answer, "hint", None))
        asked = client.images.generate(model="dall-e-3", prompt="an apple", response_format="b64_json")
        assert first(asked).size == (64, 64)
        streamed = list(client.images.generate(model="dall-e-3", prompt="an apple", stream=True))
        assert streamed[-1].type == "image_generation.completed"

    def test_width_and_height_in_place_of_a_size(self, client: OpenAI) -> None:
        assert first(client.images.generate(**RED_APPLE, extra_body={"width": 128})).size == (128, 64)
        sides = {"width": 96, "height": 48}
        assert first(client.images.generate(**RED_APPLE, size="auto", extra_body=sides)).size == (96, 48)

    def test_what_clients_leave_empty_is_left_out(self, client: OpenAI, server: Replica) -> None:
        others = ("model", "size", "quality", "response_format", "output_format", "background", "moderation", "user")
        for empty in ("", None):
            fields = {
                **dict.fromkeys((*others, "n", "seed", "stream", "partial_images", "style"), empty),
                "prompt": "x",
            }
            body = {**fields, "model": "tiny"}
            assert WEB.post(f"{server.url}/v1/images/generations", json=body).status_code == 200
            form = {name: value or "" for name, value in body.items()}
            files = {"image": png(photo())}
            assert WEB.post(f"{server.url}/v1/images/edits", data=form, files=files).status_code == 200

    def test_a_prompt_of_32000_characters_is_drawn_and_the_hint_says_what_is_read(self, client: OpenAI) -> None:
        answer: Any = client.images.generate(**{**RED_APPLE, "prompt": "apple " * 5333}, output_format="jpeg")
        assert "prompt is too long" in answer.hint
        assert answer.usage.input_tokens > 5000
        refused(
            lambda: client.images.generate(**{**RED_APPLE, "prompt": "a" * 32_001}), openai.BadRequestError, "prompt"
        )

    def test_every_answer_has_the_id_of_its_request(self, client: OpenAI) -> None:
        assert client.images.generate(**RED_APPLE)._request_id
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(**RED_APPLE, size="7x7")
        assert caught.value.request_id
        with pytest.raises(openai.NotFoundError) as nothing:
            client.post("/embeddings", cast_to=object, body={})
        assert nothing.value.code == "unknown_url"
        assert nothing.value.request_id

    def test_names_of_openai_are_aliases(self, client: OpenAI) -> None:
        assert parameters(client.images.generate(model="gpt-image-2", prompt="an apple"))["model"] == "tiny"

    async def test_many_at_once(self, server: Replica) -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
            calls = [client.images.generate(**RED_APPLE, extra_body={"seed": seed}) for seed in (1, 2, 1, 2)]
            one, two, *again = [first(answer) for answer in await asyncio.gather(*calls)]
        assert same(one, again[0])
        assert same(two, again[1])
        assert not same(one, two)


class TestStreams:
    def test_previews_and_then_the_picture(self, client: OpenAI) -> None:
        with client.images.generate(**RED_APPLE, stream=True, partial_images=3, extra_body=SEED) as stream:
            *partial, completed = list(stream)
        assert [event.type for event in partial] == ["image_generation.partial_image"] * 3
        assert [getattr(event, "partial_image_index", None) for event in partial] == [0, 1, 2]
        pictures = [picture(event.b64_json) for event in partial]
        assert {image.size for image in pictures} == {(64, 64)}
        assert not same(pictures[0], pictures[2])
        assert completed.type == "image_generation.completed"
        assert completed.usage.output_tokens == 16
        assert (completed.size, completed.quality, completed.output_format) == ("64x64", "medium", "png")
        assert same(picture(completed.b64_json), first(client.images.generate(**RED_APPLE, extra_body=SEED)))

    @pytest.mark.parametrize(("steps", "partial_images", "sent"), [(4, 0, 0), (4, 1, 1), (2, 3, 1), (9, 2, 2)])
    def test_no_more_previews_than_steps_before_the_last(
        self, steps: int, partial_images: int, sent: int, client: OpenAI
    ) -> None:
        body = {"num_inference_steps": steps}
        events = client.images.generate(**RED_APPLE, stream=True, partial_images=partial_images, extra_body=body)
        assert sum(event.type == "image_generation.partial_image" for event in events) == sent

    def test_parts_are_one_stream(self, client: OpenAI) -> None:
        stream: Any = client.images.generate(**RED_APPLE, stream=True, n=10, partial_images=1, extra_body=SEED)
        events: list[Any] = list(stream)
        completed = [event for event in events if event.type == "image_generation.completed"]
        assert sorted((event.index, event.seed) for event in completed) == [(n, 7 + n) for n in range(10)]
        assert {event.index for event in events if event not in completed} == set(range(10))

    def test_several_pictures_are_told_apart(self, client: OpenAI) -> None:
        events: list[Any] = list(client.images.generate(**RED_APPLE, stream=True, n=2, output_format="jpeg"))
        assert sorted(event.index for event in events) == [0, 1]
        assert {picture(event.b64_json).format for event in events} == {"JPEG"}

    async def test_asynchronous(self, server: Replica) -> None:
        async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="x") as client:
            stream = await client.images.edit(
                model="tiny-edit", image=png(photo()), prompt="blue", stream=True, partial_images=1
            )
            types = [event.type async for event in stream]
        assert types == ["image_edit.partial_image", "image_edit.completed"]

    def test_a_refused_stream_is_an_ordinary_error(self, client: OpenAI) -> None:
        with pytest.raises(openai.BadRequestError):
            client.images.generate(**RED_APPLE, stream=True, size="7x7")

    def test_closing_it_cancels(self, server: Replica) -> None:
        wait_for(lambda: running(server) == 0)
        before = cancelled(server.url)
        body = {**RED_APPLE, "stream": True, "num_inference_steps": 900, "size": "128x64", "partial_images": 1}
        with httpx.stream("POST", f"{server.url}/v1/images/generations", json=body, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            wait_for(lambda: running(server) == 1)
        wait_for(lambda: cancelled(server.url) > before)
        wait_for(lambda: running(server) == 0)

    def test_leaving_cancels(self, server: Replica) -> None:
        wait_for(lambda: running(server) == 0)
        before = cancelled(server.url)
        body = {**RED_APPLE, "num_inference_steps": 900, "size": "128x64"}
        with asking(server.url, "/v1/images/generations", body):
            wait_for(lambda: running(server) == 1)
        wait_for(lambda: cancelled(server.url) > before)
        wait_for(lambda: running(server) == 0)


class TestEdits:
    def test_several_pictures_by_a_model_that_edits(self, client: OpenAI) -> None:
        files = [("one.png", png(photo())), ("two.png", png(photo().rotate(90)))]
        both = client.images.edit(model="tiny-edit", image=files, prompt="blue", extra_body=SEED)
        swapped = client.images.edit(model="tiny-edit", image=files[::-1], prompt="blue", extra_body=SEED)
        one = client.images.edit(model="tiny-edit", image=files[0], prompt="blue", extra_body=SEED)
        assert parameters(both)["task"] == "edit"
        assert not same(first(both), first(swapped))
        assert not same(first(both), first(one))
        assert both.usage is not None
        assert both.usage.input_tokens_details.image_tokens == 32

    def test_what_is_transparent_in_the_mask_is_drawn_anew(self, client: OpenAI, server: Replica) -> None:
        edited = client.images.edit(
            **RED_APPLE, image=png(photo()), mask=png(with_hole()), extra_body={**SEED, "strength": 1.0}
        )
        white = Image.new("L", (64, 64))
        white.paste(255, (32, 0, 64, 64))
        ours = WEB.post(
            f"{server.url}/inpaint",
            files={"image": png(photo()), "mask": png(white)},
            data={**RED_APPLE, "seed": "7", "strength": "1.0"},
            timeout=60,
        )
        assert same(first(edited), Image.open(BytesIO(ours.content)))

    def test_a_mask_keeps_the_rest_of_the_first_picture_whatever_else_a_model_looks_at(self, client: OpenAI) -> None:
        files = [("one.png", png(photo())), ("two.png", png(photo(32, 48)))]
        edited = client.images.edit(
            model="tiny-edit", image=files, mask=png(with_hole()), prompt="blue", extra_body=SEED
        )
        assert parameters(edited)["task"] == "edit"
        kept, hole = (0, 0, 32, 64), (32, 0, 64, 64)
        assert same(first(edited).crop(kept), photo().crop(kept))
        assert not same(first(edited).crop(hole), photo().crop(hole))

    def test_without_a_mask_a_model_that_cannot_edit_draws_after_the_picture(self, client: OpenAI) -> None:
        drawn = parameters(client.images.edit(**RED_APPLE, image=png(photo()), extra_body={"strength": 0.5}))
        assert (drawn["task"], drawn["strength"]) == ("image-to-image", 0.5)
        close = parameters(client.images.edit(**RED_APPLE, image=png(photo()), input_fidelity="high"))
        assert close["strength"] == pytest.approx(0.6 * 0.75)

    def test_fidelity_to_a_picture_that_is_seen_as_a_whole_is_a_hint(self, client: OpenAI) -> None:
        edited: Any = client.images.edit(model="tiny-edit", image=png(photo()), prompt="blue", input_fidelity="high")
        assert "input_fidelity is ignored" in edited.hint

    def test_json_with_images_as_data_urls(self, server: Replica) -> None:
        def edited(**fields: Any) -> Image.Image:
            answer = WEB.post(f"{server.url}/v1/images/edits", json={**RED_APPLE, **SEED, **fields})
            assert answer.status_code == 200, answer.text
            return picture(answer.json()["data"][0]["b64_json"])

        url, hole = ({"image_url": data_url(image)} for image in (photo(), with_hole()))
        assert same(edited(images=[url]), edited(image=url["image_url"]))
        assert same(edited(images=[url], mask=hole), edited(image=[url], mask=hole["image_url"]))
        two = {"model": "tiny-edit", "images": [url, url]}
        assert edited(**two).size == (64, 64)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"images": [{"file_id": "file-abc"}]}, "images[0].file_id"),
            ({"images": [{"image_url": "http://127.0.0.1/x.png"}]}, "images[0].image_url"),
            ({"images": [{}]}, "images[0].image_url"),
            ({"images": [{"image_url": 7}]}, "images[0].image_url"),
            ({"images": ["http://127.0.0.1/x.png"]}, "images"),
            ({"images": [{"image_url": "data:image/png;base64,AAAA"}]}, "images"),
            ({"image": {"file_id": "file-abc"}}, "image.file_id"),
            ({"images": [{"image_url": TINY_URL}], "mask": {"file_id": "file-abc"}}, "mask.file_id"),
            (
                {"images": [{"image_url": TINY_URL}], "mask": {"image_url": "https://example.com/a.png"}},
                "mask.image_url",
            ),
            ({"images": []}, "images"),
        ],
    )
    def test_references_that_lead_nowhere_are_named(self, fields: dict[str, Any], param: str, server: Replica) -> None:
        answer = WEB.post(f"{server.url}/v1/images/edits", json={**RED_APPLE, **fields})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text

    def test_true_cfg_scale_is_guidance_scale(self, client: OpenAI) -> None:
        body = {"true_cfg_scale": 4.0}
        drawn = parameters(client.images.edit(model="tiny-edit", image=png(photo()), prompt="blue", extra_body=body))
        assert drawn["guidance_scale"] == 4.0

    def test_variations_are_drawn_after_the_picture_alone(self, client: OpenAI) -> None:
        with pytest.warns(DeprecationWarning, match="deprecated"):
            answer = client.images.create_variation(
                model="tiny",
                image=png(photo()),
                n=2,
                size="128x64",  # type: ignore[arg-type]
            )
        assert len(answer.data or []) == 2
        drawn = parameters(answer)
        assert (drawn["task"], drawn["prompt"], drawn["width"]) == ("image-to-image", "", 128)


def refused(call: Callable[[], object], kind: type[openai.APIStatusError], param: str | None) -> dict[str, Any]:
    with pytest.raises(kind) as caught:
        call()
    body: dict[str, Any] = caught.value.body  # type: ignore[assignment]
    assert {"message", "type", "param", "code"} <= body.keys()
    assert body["param"] == param, body
    return body


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"size": "33x64"}, "size"),
    ({"size": "4096x4096"}, "size"),
    ({"size": "large"}, "size"),
    ({"n": 0}, "n"),
    ({"n": 11}, "n"),
    ({"quality": "best"}, "quality"),
    ({"background": "transparent"}, "background"),
    ({"output_format": "gif"}, "output_format"),
    ({"output_compression": 50}, "output_compression"),
    ({"partial_images": 1}, "partial_images"),
    ({"partial_images": 4, "stream": True}, "partial_images"),
    ({"response_format": "url", "stream": True}, "response_format"),
    ({"extra_body": {"num_inference_steps": 1000}}, "num_inference_steps"),
    ({"extra_body": {"strength": 1.5}}, "strength"),
    ({"extra_body": {"scheduler": "nothing"}}, "scheduler"),
    ({"extra_body": {"loras": [{"name": "nothing"}]}}, "loras"),
    ({"extra_body": {"loras": "[{"}}, "loras"),
    ({"extra_body": {"guidance_scale": 2.0, "true_cfg_scale": 2.0}}, "true_cfg_scale"),
    ({"extra_body": {"true_cfg_scale": 21.0}}, "true_cfg_scale"),
    ({"extra_body": {"true_cfg_scale": -1}}, "true_cfg_scale"),
    ({"extra_body": {"guidance_scale": 21.0}}, "guidance_scale"),
    ({"extra_body": {"width": 33}}, "width"),
    ({"extra_body": {"height": 4096}}, "height"),
    ({"extra_body": {"width": 64}, "size": "64x64"}, "width"),
    ({"extra_body": {"num_images": 2}}, "num_images"),
    ({"extra_body": {"extra_body": {"seed": 1}}}, "extra_body"),
    ({"model": "dall-e-3", "style": "bold"}, "style"),
    ({"extra_body": {"seed": -2}}, "seed"),
    ({"extra_body": {"svg": {"model": "x"}}}, "svg"),
    ({"prompt": ""}, "prompt"),
]


TINY_PNG = base64.b64encode(png(photo())).decode()


class TestErrors:
    @pytest.mark.parametrize(("fields", "param"), WRONG)
    def test_a_wrong_value_names_its_parameter(self, fields: dict[str, Any], param: str, client: OpenAI) -> None:
        refused(lambda: client.images.generate(**{**RED_APPLE, **fields}), openai.BadRequestError, param)

    def test_unknown_and_missing_parameters(self, client: OpenAI) -> None:
        unknown: dict[str, Any] = {"extra_body": {"strides": 3}}
        body = refused(lambda: client.images.generate(**RED_APPLE, **unknown), openai.BadRequestError, "strides")
        assert body["code"] == "unknown_parameter"
        missing: Any = {"prompt": None}
        body = refused(lambda: client.images.generate(**missing), openai.BadRequestError, "prompt")
        assert body["code"] == "missing_required_parameter"

    def test_unknown_models(self, client: OpenAI) -> None:
        for call in (
            lambda: client.images.generate(model="tiny-2", prompt="an apple"),
            lambda: client.models.retrieve("tiny-2"),
        ):
            assert refused(call, openai.NotFoundError, "model")["code"] == "model_not_found"

    def test_a_model_that_cannot_says_what_it_can(self, client: OpenAI) -> None:
        file = png(photo())
        calls: tuple[Callable[[], object], ...] = (
            lambda: client.images.generate(model="tiny-edit", prompt="an apple"),
            lambda: client.images.create_variation(model="tiny-edit", image=file),
        )
        for call in calls:
            body = refused(call, openai.BadRequestError, "model")
            assert body["capabilities"] == ["edit"]
            assert "Served models that can: tiny, miniature" in body["message"]

    def test_wrong_pictures(self, client: OpenAI) -> None:
        file, bad = png(photo()), openai.BadRequestError
        refused(lambda: client.images.edit(**RED_APPLE, image=b"no picture"), bad, "image")
        refused(lambda: client.images.edit(**RED_APPLE, image=[file, file]), bad, "image")
        refused(lambda: client.images.edit(model="tiny-edit", prompt="x", image=[file] * 5), bad, "image")
        refused(lambda: client.images.edit(model="tiny-edit", prompt="x", image=[file] * 17), bad, "image")
        refused(lambda: client.images.edit(**RED_APPLE, image=file, mask=file), bad, "mask")
        refused(lambda: client.images.edit(**RED_APPLE, image=png(photo(32, 32)), mask=png(with_hole())), bad, "mask")
        refused(lambda: client.images.edit(**RED_APPLE, image=file, markup=png(with_hole())), bad, "markup")

    @pytest.mark.parametrize(
        ("path", "sent", "param"),
        [
            ("generations", {"content": b"{"}, None),
            ("generations", {"content": b"[1]"}, None),
            ("generations", {"content": rb'{"prompt": "\ud800"}'}, None),
            ("generations", {"json": {"prompt": 7}}, "prompt"),
            ("edits", {"data": {"prompt": "x", "model": "tiny"}}, "image"),
            ("edits", {"data": {"prompt": "x", "image": "http://127.0.0.1/x.png"}}, "image"),
            ("edits", {"data": {"prompt": "x", "image[]": "x.png"}}, "image"),
            ("edits", {"data": {"loras[]": "nothing", "image": TINY_PNG, "prompt": "x", "model": "tiny"}}, "loras"),
            ("edits", {"data": {"loras[][name]": ["a", "b"], "loras[][scale]": "1"}}, "loras"),
            ("variations", {"json": {"image": ["AAAA"]}}, "image"),
            ("variations", {"data": {"model": "tiny"}}, "image"),
        ],
    )
    def test_bad_bodies(self, path: str, sent: dict[str, Any], param: str | None, server: Replica) -> None:
        answer = WEB.post(f"{server.url}/v1/images/{path}", timeout=60, **sent)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == param
        assert answer.json()["error"]["type"] == "invalid_request_error"

    @pytest.mark.parametrize(
        ("error", "kind", "retried"),
        [
            (UnknownModel("x", []), openai.NotFoundError, False),
            (Forbidden("closed"), openai.PermissionDeniedError, False),
            (TooLarge("large"), openai.APIStatusError, False),
            (TooManyJobs("many", 0), openai.RateLimitError, True),
            (Busy("busy", 0), openai.InternalServerError, True),
            (RunnerLost(), openai.InternalServerError, True),
            (OutOfMemory("large"), openai.InternalServerError, False),
        ],
    )
    def test_each_is_an_exception_of_the_client(
        self, error: JubakoError, kind: type[openai.APIStatusError], retried: bool
    ) -> None:
        asked = 0

        def answer(request: httpx2.Request) -> httpx2.Response:
            nonlocal asked
            asked += 1
            refusal = openai_refusal(error)
            return httpx2.Response(refusal.status_code, headers=dict(refusal.headers), content=bytes(refusal.body))

        client = OpenAI(api_key="x", max_retries=1, http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))
        with pytest.raises(kind) as caught:
            client.images.generate(prompt="an apple")
        assert caught.value.code is not None
        assert asked == (2 if retried else 1)

    def test_a_wrong_method_has_the_shape_too(self, server: Replica) -> None:
        answer = server.get("/v1/images/generations")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["error"]["type"] == "invalid_request_error"

    def test_a_body_that_is_too_large(self, server: Replica) -> None:
        answer = WEB.post(f"{server.url}/v1/images/generations", content=b" " * (MAX_UPLOAD_BYTES + 1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


class TestModels:
    def test_the_list_has_capabilities(self, client: OpenAI) -> None:
        listed = {model.id: model for model in client.models.list()}
        assert list(listed) == list(MODELS)
        edit: Any = listed["tiny-edit"]
        assert (edit.object, edit.owned_by) == ("model", "jubako")
        assert list(edit.capabilities["tasks"]) == ["edit"]

    def test_one_by_its_id_or_alias(self, client: OpenAI) -> None:
        model: Any = client.models.retrieve("gpt-image-2")
        assert (model.id, model.root, model.aliases) == ("gpt-image-2", "tiny", sorted(THEIR_NAMES))


class TestSocket:
    def test_progress_previews_and_pictures(self, server: Replica) -> None:
        events = self.told(server, {**RED_APPLE, **SEED, "partial_images": 1})
        kinds = [event["type"] for event in events]
        assert "started" in kinds
        assert kinds.count("step") == 4
        assert kinds[-2:] == ["image_generation.completed", "done"]
        assert kinds.index("image_generation.partial_image") < kinds.index("image_generation.completed")
        assert picture(events[-2]["b64_json"]).size == (64, 64)
        assert events[-1]["images"] == 1

    def test_parts_begin_once(self, server: Replica) -> None:
        events = self.told(server, {**RED_APPLE, "n": 9})
        kinds = [event["type"] for event in events]
        assert (kinds.count("started"), events[-1]) == (1, {"type": "done", "images": 9})
        assert {event["index"] for event in events if event["type"] == "step"} == set(range(9))

    def test_an_image_makes_it_an_edit(self, server: Replica) -> None:
        image = base64.b64encode(png(photo())).decode()
        events = self.told(server, {"model": "tiny-edit", "prompt": "blue", "image": [image, image]})
        assert events[-2]["type"] == "image_edit.completed"

    @pytest.mark.parametrize(
        "message", ["{", b"\xff", "[]", '{"model": "nothing", "prompt": "x"}', '{"prompt": "x", "n": 0}']
    )
    def test_errors_are_events(self, message: str | bytes, server: Replica) -> None:
        events = self.told(server, message)
        assert [event["type"] for event in events] == ["error"]
        assert events[0]["error"]["type"] == "invalid_request_error"

    def test_closing_it_cancels(self, server: Replica) -> None:
        wait_for(lambda: running(server) == 0)
        before = cancelled(server.url)
        with self.opened(server) as socket:
            socket.send(json.dumps({**RED_APPLE, "num_inference_steps": 900, "size": "128x64"}))
            while json.loads(socket.recv())["type"] != "step":
                pass
            assert running(server) == 1
        wait_for(lambda: cancelled(server.url) > before)
        wait_for(lambda: running(server) == 0)

    def told(self, server: Replica, message: dict[str, Any] | str | bytes) -> list[dict[str, Any]]:
        with self.opened(server) as socket:
            socket.send(json.dumps(message) if isinstance(message, dict) else message)
            return [json.loads(text) for text in socket]

    def opened(self, server: Replica) -> Any:
        return connect(f"{server.url.replace('http', 'ws')}/v1/images/stream", max_size=None)


CURL = """curl -X POST "http://localhost:8000/v1/images/edits" \
  -F "image=@input.png" \
  -F "prompt=Change the rabbit's color to purple" \
  -F "num_inference_steps=50" \
  -F "true_cfg_scale=4.0" \
  -F "seed=42"
"""
PYTHON = """
import requests
import base64
from PIL import Image
import io

# Cargar imagen
with open("input.png", "rb") as f:
    image_bytes = f.read()

# Hacer request
response = requests.post(
    "http://localhost:8000/v1/images/edits",
    files={"image": image_bytes},
    data={
        "prompt": "Change the rabbit's color to purple",
        "num_inference_steps": 50,
        "true_cfg_scale": 4.0,
        "seed": 42,
        "response_format": "b64_json"
    }
)

# Obtener imagen
result = response.json()
img_data = base64.b64decode(result["data"][0]["b64_json"])
image = Image.open(io.BytesIO(img_data))
image.save("output.png")
"""
PYTEST = """
# test_api.py
import requests

def test_image_edit():
    with open("input.png", "rb") as f:
        response = requests.post(
            "http://localhost:8000/v1/images/edits",
            files={"image": f},
            data={
                "prompt": "Make it purple",
                "seed": 42
            }
        )
    
    assert response.status_code == 200
    result = response.json()
    assert "data" in result
    assert len(result["data"]) > 0
"""  # noqa: W293


@pytest.mark.parametrize("prefix", ["", "/openai"])
class TestTheDocument:
    """Its examples as they stand, host and port apart; the default model edits and does nothing else."""

    def test_its_curl(self, prefix: str, server: Replica, tmp_path: Path) -> None:
        done = self.run(["bash", "-c", self.here(CURL, server, prefix)], tmp_path)
        body = json.loads(done)
        drawn = read_parameters(picture(body["data"][0]["b64_json"]))
        assert (drawn["model"], drawn["num_inference_steps"], drawn["guidance_scale"]) == ("tiny-edit", 50, 4.0)
        assert drawn["seed"] == 42

    def test_its_python(self, prefix: str, server: Replica, tmp_path: Path) -> None:
        self.run([str(ROOT / ".venv/bin/python"), "-c", self.here(PYTHON, server, prefix)], tmp_path)
        with Image.open(tmp_path / "output.png") as image:
            assert image.size == (64, 64)

    def test_its_test(self, prefix: str, server: Replica, tmp_path: Path) -> None:
        (tmp_path / "test_api.py").write_text(self.here(PYTEST, server, prefix))
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_api.py"]
        assert "1 passed" in self.run([str(ROOT / ".venv/bin/python"), *command], tmp_path)

    def test_what_it_says_is_not_supported_is_refused(self, prefix: str, server: Replica) -> None:
        address = f"{server.url}{prefix}/v1/images"
        generated = WEB.post(f"{address}/generations", json={"prompt": "x"})
        varied = WEB.post(f"{address}/variations", files={"image": png(photo())})
        assert [answer.json()["error"]["code"] for answer in (generated, varied)] == ["unsupported_task"] * 2

    def test_its_pages(self, prefix: str, server: Replica) -> None:
        for page in ("/docs", "/redoc", "/"):
            assert server.get(f"{prefix}{page}").status_code == 200

    def here(self, text: str, server: Replica, prefix: str) -> str:
        return text.replace("http://localhost:8000", f"{server.url}{prefix}")

    def run(self, command: list[str], folder: Path) -> str:
        photo().save(folder / "input.png")
        return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60, text=True).stdout


def test_the_prefix_has_all_of_its_own(server: Replica) -> None:
    described = server.get("/openai/openapi.json").json()
    edits = described["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = described["components"]["schemas"][edits["$ref"].rpartition("/")[2]]["properties"]
    assert {"image", "mask", "prompt", "loras"} <= fields.keys()
    assert server.get("/openai/health").json()["status"] == "healthy"
    assert server.get("/openai/").json()["endpoints"] == {
        "/v1/images/generations": False,
        "/v1/images/edits": True,
        "/v1/images/variations": False,
    }
