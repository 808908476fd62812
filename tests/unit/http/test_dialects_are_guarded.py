"""Every contract refuses, charges and keeps apart as all others do, in its own words: keys, rates, content, others'
jobs, mistakes, a server that stops; what uploads cost, what is kept for a retry, and waiting that ends.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import Message

from api.contracts import CONTRACTS
from api.http.contract_table import Contract
from api.http.refusals import refusal_body
from api.predictions import app as predictions
from core.errors import (
    Busy,
    ContentPolicyViolation,
    InvalidRequest,
    JubakoError,
    RateExceeded,
    Unauthorized,
    retry_fields,
)
from core.generation.events import Event, Failed
from core.generation.request import Task
from gateway.safety.content_policy import REFUSED
from jobs.errors import UnknownJob
from models.catalogue.resolving.sizes import PROPORTION
from processes.drain_middleware import RETRY_S, STOPPING
from tests.support.engine.animation_videos import gif
from tests.support.servers.guarded_server import (
    ALICE,
    BLOCKED,
    BOB,
    BOSS,
    CAROL,
    DAVE,
    WRONG,
    Endless,
    GuardedServer,
    guarded_server,
)
from tests.support.servers.serving import half_mask, photo, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSED_S = 20.0
SIZE = (300, 200)
FILE_PX = 60_000
PHOTO, MASK = (base64.b64encode(png(make(*SIZE))).decode() for make in (photo, half_mask))
STRIP = base64.b64encode(png(photo(900, 100))).decode()
"""An image that no contract takes."""
STRIP_URL = f"data:image/png;base64,{STRIP}"
APPLE = {"prompt": "a red apple"}
SQUARE = {"width": 128, "height": 128}
"""More than the tiny model draws."""
STORY = "A little fox looks for its friends in the forest"
MCP_HEADERS = {"Accept": "application/json, text/event-stream"}


def tool_call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}


@dataclass(frozen=True)
class Row:
    """How one contract is spoken to."""

    contract: str
    address: str
    body: Mapping[str, Any]
    """What generates, with a prompt."""
    wrong: Mapping[str, Any]
    """What is added to it as a mistake; None takes away."""
    words: str = "prompt"
    """Where the body has the words."""
    theirs: str | None = None
    """Where a job is read: `{image}`, `{video}`, `{story}`; None where answers have no ids."""
    others: tuple[str, ...] = ()
    """The same for jobs that this contract has not."""
    key: str = ALICE
    """Whose key may do it."""
    in_results: bool = False
    """Whether it answers errors of what generates as results."""

    @property
    def its(self) -> Contract:
        return next(contract for contract in CONTRACTS.contracts if contract.name == self.contract)

    def with_prompt(self, prompt: str) -> dict[str, Any]:
        text = json.dumps(self.body)
        given = "little" if "little" in text else "red"
        changed: dict[str, Any] = json.loads(text.replace(f" {given} ", f" {prompt} "))
        return changed

    def with_mistake(self) -> dict[str, Any]:
        if self.in_results:
            return tool_call("generate_image", **{**APPLE, **self.wrong})
        return {name: value for name, value in {**self.body, **self.wrong}.items() if value is not None}


ROWS = (
    Row("Operations", "/models/tiny/load", {}, {"device": 7}, key=BOSS),
    Row("OpenAI Images API", "/v1/images/generations", {**APPLE, "model": "tiny"}, {"size": "7x7"}),
    Row("OpenAI Images API", "/images/generations", {**APPLE, "model": "tiny"}, {"n": 0}),
    Row("OpenAI Images API", "/openai/v1/images/generations", {**APPLE, "model": "tiny"}, {"n": 11}),
    Row(
        "OpenAI Videos API",
        "/v1/videos",
        {**APPLE, "model": "tiny-video"},
        {"seconds": 0},
        theirs="/v1/videos/{video}",
        others=("/v1/videos/{image}", "/v1/videos/{story}", "/v1/videos/{image}/content"),
    ),
    Row(
        "OpenAI chat with images",
        "/v1/chat/completions",
        {"model": "tiny", "messages": [{"role": "user", "content": "a red apple"}]},
        {"messages": [7]},
        words="messages[0].content",
    ),
    Row(
        "OpenAI chat with images",
        "/v1/responses",
        {"model": "tiny", "input": "a red apple", "tools": [{"type": "image_generation"}]},
        {"tools": []},
        words="input",
    ),
    Row("Jobs", "/api/tiny/t2i", APPLE, {"width": 7}, theirs="/api/{image}/status"),
    Row("Jobs", "/generator/api/tiny/t2i", APPLE, {"width": 7}, theirs="/generator/api/{story}/status"),
    Row("Text-to-image microservice", "/pipeline/run", APPLE, {"prompt": None}),
    Row(
        "Inpainting server",
        "/generate-inpainting",
        {**APPLE, "input_image": PHOTO, "mask_image": MASK},
        {"mask_image": None},
    ),
    Row("Storyboard generation", "/generate", {"prompt": STORY, "model": "tiny"}, {"num_frames": 99}),
    Row("Ollama's image generation", "/ollama/api/generate", {**APPLE, "model": "tiny"}, {"width": 7}),
    Row(
        "Replicate's predictions",
        "/replicate/v1/predictions",
        {"input": APPLE},
        {"input": 7},
        theirs="/replicate/v1/predictions/{image}",
        others=("/replicate/v1/predictions/{story}",),
    ),
    Row(
        "Replicate's predictions",
        "/predictions",
        {"input": APPLE},
        {"webhook": "https://a.example"},
        theirs="/predictions/{video}",
        others=("/predictions/{story}",),
    ),
    Row("A1111's web UI", "/sdapi/v1/txt2img", APPLE, {"steps": 100_000}),
    Row(
        "BentoML's tasks",
        "/text_to_image/submit",
        APPLE,
        {"num_images": 2},
        theirs="/text_to_image/status?task_id={image}",
        others=("/text_to_image/status?task_id={video}", "/text_to_video/get?task_id={image}"),
    ),
    Row("Model Context Protocol", "/mcp", tool_call("generate_image", **APPLE), {"colour": "red"}, in_results=True),
    Row("Hugging Face inference", "/models/tiny", {"inputs": "a red apple"}, {"inputs": ""}, words="inputs"),
)
NO_DIALECT = "Page to play with"
"""Its own process asks the other contracts, with the visitor's key."""
GENERATING = [row for row in ROWS if row.contract != "Operations"]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


async def answered(
    server: GuardedServer, key: str | None, address: str, body: Mapping[str, Any] | None = None, method: str = "POST"
) -> Answer:
    # What is let through is never done.
    async with asyncio.timeout(REFUSED_S), server.client(key) as client:
        answer = await client.request(method, address, json=body, headers=MCP_HEADERS if address == "/mcp" else {})
    text = answer.text
    said = next((line[6:] for line in text.splitlines() if line.startswith("data: {")), text)
    return Answer(answer.status_code, json.loads(said or "null"), answer.headers)


def as_told(row: Row, error: JubakoError) -> tuple[int, Any]:
    """Return the status and the body with which a contract answers an error."""
    if row.in_results:
        return 200, {**refusal_body(error), **retry_fields(error)}
    answer = row.its.refusal(error)
    return answer.status_code, json.loads(bytes(answer.body))


def told(row: Row, answer: Answer) -> tuple[int, Any]:
    return answer.status, answer.body["result"]["structuredContent"] if row.in_results else answer.body


async def refused(server: GuardedServer, address: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    answer = await answered(server, ALICE, address, body)
    return answer.status, answer.body["result"]["structuredContent"] if address == "/mcp" else answer.body


def as_refused(address: str, error: JubakoError) -> tuple[int, Any]:
    if address == "/mcp":
        return 200, refusal_body(error)
    answer = CONTRACTS.refusal_for(address, error)
    return answer.status_code, json.loads(bytes(answer.body))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedServer]:
    async with guarded_server(tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ids(server: GuardedServer) -> dict[str, str]:
    """Jobs of alice's, by what they are."""
    image, clip = await server.done(), await server.done(Task.TEXT_TO_VIDEO)
    return {"image": image, "video": clip, "story": await server.story()}


async def test_every_contract_is_in_the_table() -> None:
    named, contracts = {row.contract for row in ROWS} | {NO_DIALECT}, {each.name for each in CONTRACTS.contracts}
    assert not contracts - named, f"add to ROWS how these are called: {contracts - named}"
    assert not named - contracts, f"no contracts have these names in ROWS: {named - contracts}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.address)
class TestEachContract:
    async def test_asks_for_a_key(self, row: Row, server: GuardedServer) -> None:
        for key, reason in ((WRONG, "the key is wrong"), (None, "a key is needed: Authorization: Bearer KEY")):
            answer = await answered(server, key, row.address, row.body)
            refused = row.its.refusal(Unauthorized(reason))
            assert (answer.status, answer.body) == (401, json.loads(bytes(refused.body)))
            assert answer.headers["www-authenticate"] == "Bearer"

    async def test_takes_nothing_new_while_the_server_is_stopped(self, row: Row, server: GuardedServer) -> None:
        server.drain.refusing = True
        try:
            answer = await answered(server, row.key, row.address, row.body)
        finally:
            server.drain.refusing = False
        refused = row.its.refusal(Busy(STOPPING, RETRY_S))
        assert (answer.status, answer.body) == (503, json.loads(bytes(refused.body)))
        assert answer.headers["retry-after"] == str(RETRY_S)

    async def test_names_a_mistake(self, row: Row, server: GuardedServer) -> None:
        answer = await answered(server, row.key, row.address, row.with_mistake())
        usual, body = as_told(row, InvalidRequest("any", "is wrong"))
        status, said = told(row, answer)
        assert (status, said.keys()) == (usual, body.keys())
        assert next(iter(row.wrong)) in json.dumps(said)


@pytest.mark.parametrize("row", GENERATING, ids=lambda row: row.address)
class TestEachThatGenerates:
    async def test_keeps_the_rate(self, row: Row, server: GuardedServer) -> None:
        # A mistake counts too, and nothing is generated.
        for _ in range(2):
            answer = await answered(server, BOB, row.address, row.with_mistake())
        expected, body = as_told(row, RateExceeded("more than 1 requests a minute; try again later", 60))
        status, said = told(row, answer)
        if row.in_results:
            assert 0 < said["retry_after_s"] <= body.pop("retry_after_s")
        else:
            assert 0 < int(answer.headers["retry-after"]) <= 60
        assert (status, said) == (expected, {**said, **body})

    async def test_keeps_to_the_content_policy(self, row: Row, server: GuardedServer) -> None:
        answer = await answered(server, ALICE, row.address, row.with_prompt(BLOCKED))
        assert told(row, answer) == as_told(row, ContentPolicyViolation(row.words, REFUSED))

    async def test_counts_what_it_generates(self, row: Row, server: GuardedServer) -> None:
        answer = await answered(server, DAVE, row.address, row.body)
        _, said = told(row, answer)
        assert "this key may have" in json.dumps(said)


@pytest.mark.parametrize("row", [row for row in ROWS if row.theirs], ids=lambda row: row.address)
class TestJobs:
    async def test_are_their_owners(self, row: Row, server: GuardedServer, ids: dict[str, str]) -> None:
        assert row.theirs is not None
        address = row.theirs.format(**ids)
        assert (await answered(server, ALICE, address, method="GET")).status == 200
        answer = await answered(server, CAROL, address, method="GET")
        (job,) = (each for each in ids.values() if each in address)
        assert (answer.status, answer.body) == as_told(row, UnknownJob(job))

    async def test_of_other_kinds_are_unknown(self, row: Row, server: GuardedServer, ids: dict[str, str]) -> None:
        for address in (other.format(**ids) for other in row.others):
            answer = await answered(server, ALICE, address, method="GET")
            (job,) = (each for each in ids.values() if each in address)
            assert (answer.status, answer.body) == as_told(row, UnknownJob(job))


class TestNamesInTheBody:
    """What only the model's limits tell is said of the field that the caller wrote, not of ours."""

    @pytest.mark.parametrize(
        ("address", "body", "field"),
        [
            ("/v1/images/edits", {**APPLE, "model": "tiny-edit", "image": STRIP}, "image"),
            ("/v1/images/edits", {**APPLE, "model": "tiny-edit", "images": [{"image_url": STRIP_URL}]}, "images"),
            ("/v1/images/edits", {**APPLE, "model": "tiny", "images": [{"image_url": STRIP_URL}]}, "images"),
            ("/v1/images/variations", {"model": "tiny", "image": STRIP}, "image"),
            ("/v1/videos", {**APPLE, "model": "tiny-video", "input_reference": STRIP}, "input_reference"),
            ("/v1/videos", {**APPLE, "model": "tiny-video", "reference_url": STRIP_URL}, "reference_url"),
            (
                "/v1/chat/completions",
                {
                    "model": "tiny-edit",
                    "messages": [
                        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": STRIP_URL}}]},
                    ],
                },
                "messages",
            ),
            (
                "/v1/responses",
                {
                    "model": "tiny-edit",
                    "input": [{"role": "user", "content": [{"type": "input_image", "image_url": STRIP_URL}]}],
                    "tools": [{"type": "image_generation"}],
                },
                "input",
            ),
            ("/api/tiny/i2i", {**APPLE, "image": STRIP}, "image"),
            ("/api/tiny-edit/i2i", {**APPLE, "image": STRIP}, "image"),
            ("/api/tiny-edit/edit", {**APPLE, "images": [STRIP]}, "images"),
            ("/generate-inpainting", {**APPLE, "input_image": STRIP, "mask_image": STRIP}, "input_image"),
            ("/generate", {"prompt": STORY, "model": "tiny-edit", "images": [STRIP]}, "images"),
            ("/ollama/api/generate", {**APPLE, "model": "tiny", "images": [STRIP]}, "images"),
            ("/ollama/api/generate", {**APPLE, "model": "tiny-edit", "images": [STRIP]}, "images"),
            ("/predictions", {"version": "tiny", "input": {**APPLE, "input_image": STRIP}}, "input_image"),
            ("/predictions", {"version": "tiny-edit", "input": {**APPLE, "image": STRIP}}, "image"),
            ("/predictions", {"version": "tiny-edit", "input": {**APPLE, "image_input": [STRIP]}}, "image_input"),
            ("/sdapi/v1/img2img", {"init_images": [STRIP]}, "init_images"),
            (
                "/sdapi/v1/txt2img",
                {**APPLE, "alwayson_scripts": {"ControlNet": {"args": [{"image": STRIP, "model": "canny"}]}}},
                "alwayson_scripts",
            ),
            ("/image_to_image/submit", {**APPLE, "image": STRIP}, "image"),
            ("/mcp", tool_call("edit_image", **APPLE, model="tiny", images=[STRIP]), "images"),
            ("/mcp", tool_call("edit_image", **APPLE, model="tiny-edit", images=[STRIP]), "images"),
            ("/models/tiny", {"inputs": STRIP}, "inputs"),
            ("/models/tiny-edit", {"inputs": STRIP}, "inputs"),
            (
                "/models/tiny",
                {"inputs": PHOTO, "parameters": {"mask_image": STRIP}},
                "mask_image",
            ),
        ],
    )
    async def test_of_images(self, address: str, body: dict[str, Any], field: str, server: GuardedServer) -> None:
        error = InvalidRequest(field, f"is 900 x 100 pixels; {PROPORTION}")
        assert await refused(server, address, body) == as_refused(address, error)

    @pytest.mark.parametrize(
        ("address", "body", "field"),
        [
            ("/v1/images/generations", {**APPLE, "model": "tiny", "num_inference_steps": 901}, "num_inference_steps"),
            ("/v1/images/generations", {**APPLE, "model": "tiny", "steps": 901}, "steps"),
            ("/v1/videos", {**APPLE, "model": "tiny-video", "steps": 901}, "steps"),
            (
                "/v1/chat/completions",
                {"model": "tiny", "messages": [{"role": "user", "content": "an apple"}], "steps": 901},
                "steps",
            ),
            ("/api/tiny/t2i", {**APPLE, "num_inference_steps": 901}, "num_inference_steps"),
            (
                "/generate-inpainting",
                {**APPLE, "input_image": PHOTO, "mask_image": MASK, "num_inference_steps": 901},
                "num_inference_steps",
            ),
            ("/generate", {"prompt": STORY, "model": "tiny", "num_inference_steps": 901}, "num_inference_steps"),
            ("/ollama/api/generate", {**APPLE, "model": "tiny", "steps": 901}, "steps"),
            ("/predictions", {"input": {**APPLE, "steps": 901}}, "steps"),
            ("/predictions", {"input": {**APPLE, "steps": 7, "num_inference_steps": 901}}, "num_inference_steps"),
            ("/sdapi/v1/txt2img", {**APPLE, "steps": 901}, "steps"),
            ("/text_to_image/submit", {**APPLE, "num_inference_steps": 901}, "num_inference_steps"),
            ("/mcp", tool_call("generate_image", **APPLE, num_inference_steps=901), "num_inference_steps"),
            (
                "/models/tiny",
                {"inputs": "a red apple", "parameters": {"num_inference_steps": 901}},
                "num_inference_steps",
            ),
        ],
    )
    async def test_of_steps(self, address: str, body: dict[str, Any], field: str, server: GuardedServer) -> None:
        error = InvalidRequest(field, "901 is not between 1 and 900")
        assert await refused(server, address, body) == as_refused(address, error)

    @pytest.mark.parametrize(
        ("address", "body", "field"),
        [
            ("/v1/images/generations", {"prompt": " ", "model": "tiny"}, "prompt"),
            (
                "/v1/chat/completions",
                {"model": "tiny", "messages": [{"role": "user", "content": " "}]},
                "messages[0].content",
            ),
            ("/pipeline/run", {"prompt": " "}, "prompt"),
            ("/ollama/api/generate", {"prompt": "", "model": "tiny"}, "prompt"),
            ("/predictions", {"input": {}}, "prompt"),
            ("/sdapi/v1/txt2img", {}, "prompt"),
            ("/mcp", tool_call("generate_image", prompt=" "), "prompt"),
            ("/models/tiny", {"inputs": " "}, "inputs"),
        ],
    )
    async def test_of_words(self, address: str, body: dict[str, Any], field: str, server: GuardedServer) -> None:
        error = InvalidRequest(field, "is empty; write 1 to 32000 characters")
        assert await refused(server, address, body) == as_refused(address, error)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"scenes": [{"prompt": "a fox"}] * 5 + [{"prompt": f"a {BLOCKED}"}]}, "scenes.5.prompt"),
            ({"model": "tiny-edit", "characters": [{"name": "Mia"}, {"name": BLOCKED}]}, "characters.1.name"),
            ({"model": "tiny-edit", "characters": [{"name": "Mia", "prompt": BLOCKED}]}, "characters.0.prompt"),
        ],
    )
    async def test_of_words_within_a_story(self, fields: dict[str, Any], field: str, server: GuardedServer) -> None:
        error = ContentPolicyViolation(field, REFUSED)
        body = {"prompt": STORY, "model": "tiny", **fields}
        assert await refused(server, "/generate", body) == as_refused("/generate", error)

    @pytest.mark.parametrize(
        ("address", "body", "field"),
        [
            ("/v1/images/generations", {**APPLE, "model": "tiny", "size": "128x128"}, "size"),
            ("/v1/images/generations", {**APPLE, "model": "tiny", **SQUARE}, "width"),
            ("/api/tiny/t2i", {**APPLE, **SQUARE}, "width"),
            ("/generate", {"prompt": STORY, "model": "tiny", **SQUARE}, "width"),
            ("/ollama/api/generate", {**APPLE, "model": "tiny", **SQUARE}, "width"),
            ("/predictions", {"input": {**APPLE, **SQUARE}}, "width"),
            ("/sdapi/v1/txt2img", {**APPLE, **SQUARE}, "width"),
            ("/text_to_image/submit", {**APPLE, **SQUARE}, "width"),
            ("/mcp", tool_call("generate_image", **APPLE, **SQUARE), "width"),
            ("/models/tiny", {"inputs": "a red apple", "parameters": SQUARE}, "width"),
            ("/models/tiny", {"inputs": "a red apple", "parameters": {"target_size": SQUARE}}, "target_size"),
        ],
    )
    async def test_of_sizes(self, address: str, body: dict[str, Any], field: str, server: GuardedServer) -> None:
        error = InvalidRequest(field, "128 x 128 is 16384 pixels; at most 8192 are allowed")
        assert await refused(server, address, body) == as_refused(address, error)

    async def test_of_a_size_that_comes_with_an_image(self, server: GuardedServer) -> None:
        body = {**APPLE, "input_image": PHOTO, "mask_image": MASK}
        (mistake,) = (await answered(server, DAVE, "/generate-inpainting", body)).body["detail"]
        assert mistake["loc"] == ["body", "input_image"]
        assert "megapixels" in mistake["msg"]

    async def test_of_what_a_remix_has_from_another_video(self, server: GuardedServer) -> None:
        job = await server.done(Task.TEXT_TO_VIDEO, gif(5), owner="dave", media_type="image/gif")
        error = (await answered(server, DAVE, f"/v1/videos/{job}/remix", APPLE)).body["error"]
        assert (error["param"], "megapixels" in error["message"]) == ("video_id", True)

    @pytest.mark.parametrize(
        ("address", "body", "field"),
        [
            ("/v1/images/generations", {**APPLE, "n": 11}, "n"),
            ("/v1/images/generations", {**APPLE, "cfg": "much"}, "cfg"),
            ("/predictions", {"input": {**APPLE, "num_outputs": 0}}, "num_outputs"),
            ("/models/tiny", {"inputs": "a red apple", "parameters": {"width": 0}}, "width"),
        ],
    )
    async def test_of_what_no_model_takes(
        self, address: str, body: dict[str, Any], field: str, server: GuardedServer
    ) -> None:
        status, said = await refused(server, address, body)
        assert (status, said.keys()) == (400, as_refused(address, InvalidRequest(field, "is wrong"))[1].keys())
        assert f'"{field}: ' in json.dumps(said)

    @pytest.mark.parametrize(
        ("address", "body", "ours", "field"),
        [
            ("/v1/images/generations", {**APPLE, "model": "tiny"}, "prompt", "prompt"),
            (
                "/v1/chat/completions",
                {"model": "tiny", "messages": [{"role": "user", "content": "a red apple"}]},
                "prompt",
                "messages[0].content",
            ),
            ("/ollama/api/generate", {**APPLE, "model": "tiny", "stream": False}, "prompt", "prompt"),
            ("/sdapi/v1/txt2img", {**APPLE, "clip_skip": 9}, "clip_skip", "clip_skip"),
            (
                "/sdapi/v1/txt2img",
                {**APPLE, "override_settings": {"CLIP_stop_at_last_layers": 9}},
                "clip_skip",
                "override_settings",
            ),
            ("/models/tiny", {"inputs": "a red apple"}, "prompt", "inputs"),
        ],
    )
    async def test_of_what_only_the_loaded_model_tells(
        self,
        address: str,
        body: dict[str, Any],
        ours: str,
        field: str,
        server: GuardedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def failing(*_: object) -> AsyncIterator[Event]:
            yield Failed.of(InvalidRequest(ours, "is more than it takes"))

        monkeypatch.setattr(Endless, "generate", failing)
        error = InvalidRequest(field, "is more than it takes")
        assert await refused(server, address, body) == as_refused(address, error)


class TestUploadsCostTheirPixels:
    @pytest.mark.parametrize(
        ("address", "body", "pixels"),
        [
            ("/sdapi/v1/img2img", {"init_images": [PHOTO], "width": 64, "height": 64}, FILE_PX + 64 * 64),
            # The answer has the size of the image, of which only a part is generated.
            ("/sdapi/v1/img2img", {"init_images": [PHOTO], "mask": MASK, "width": 64, "height": 64}, 3 * FILE_PX),
            (
                "/sdapi/v1/txt2img",
                {**APPLE, "alwayson_scripts": {"ControlNet": {"args": [{"image": PHOTO, "model": "canny"}]}}},
                FILE_PX + 64 * 64,
            ),
            (
                "/sdapi/v1/img2img",
                {
                    "init_images": [PHOTO],
                    "width": 64,
                    "height": 64,
                    "alwayson_scripts": {"ControlNet": {"args": [{"model": "canny"}]}},
                },
                FILE_PX + 64 * 64,
            ),
            ("/sdapi/v1/extra-single-image", {"image": PHOTO, "upscaler_1": "Lanczos"}, 5 * FILE_PX),
            (
                "/v1/videos",
                {**APPLE, "model": "tiny-video", "input_reference": PHOTO, "size": "64x64"},
                FILE_PX + 5 * 64 * 64,
            ),
            ("/v1/images/edits", {**APPLE, "model": "tiny-edit", "image": [PHOTO] * 2}, 2 * FILE_PX + 64 * 64),
            ("/ollama/api/generate", {**APPLE, "model": "tiny-edit", "images": [PHOTO] * 2}, 2 * FILE_PX + 64 * 64),
            ("/models/tiny-edit", {"inputs": PHOTO, "parameters": {"width": 64, "height": 64}}, FILE_PX + 64 * 64),
            ("/predictions", {"version": "tiny-edit", "input": {"images": [PHOTO] * 2}}, 2 * FILE_PX + 64 * 64),
        ],
    )
    async def test_in_every_contract(
        self, address: str, body: dict[str, Any], pixels: int, server: GuardedServer
    ) -> None:
        answer = await answered(server, DAVE, address, body)
        megapixels = -(-pixels // 10_000) / 100
        assert 400 <= answer.status < 500
        assert f"the request has {megapixels:g} megapixels" in json.dumps(answer.body)


class TestReferences:
    async def test_cost_their_pixels(self, server: GuardedServer) -> None:
        job = await server.done(Task.TEXT_TO_IMAGE, png(photo(*SIZE)), owner="dave")
        call = tool_call("edit_image", **APPLE, model="tiny-edit", images=[job] * 2)
        for key, said in ((DAVE, "the request has 0.13 megapixels"), (CAROL, f"there is no job '{job}'")):
            assert said in json.dumps((await answered(server, key, "/mcp", call)).body)

    async def test_are_as_few_as_uploads(self, server: GuardedServer, ids: dict[str, str]) -> None:
        for tool, name, most in (
            ("edit_image", "images", "at most 16 are"),
            ("generate_image", "reference_image", "only one is"),
        ):
            call = tool_call(tool, **APPLE, **{name: [ids["image"]] * 17})
            error = (await answered(server, ALICE, "/mcp", call)).body["result"]["structuredContent"]
            assert (error["field"], error["error"]) == (name, f"{name}: 17 were given; {most} allowed")

    async def test_are_as_small_as_uploads(self, server: GuardedServer) -> None:
        job = await server.done(Task.TEXT_TO_IMAGE, bytes(2**19), bytes(2**19 + 1))
        call = tool_call("edit_image", **APPLE, images=[job, f"{job}/1"])
        error = (await answered(server, ALICE, "/mcp", call)).body["result"]["structuredContent"]
        assert error["error"] == "images: the results that are named have more than 1048576 bytes together"

    async def test_are_images(self, server: GuardedServer) -> None:
        job = await server.done(Task.TEXT_TO_VIDEO, b"a video", media_type="video/mp4")
        call = tool_call("edit_image", **APPLE, images=[job])
        error = (await answered(server, ALICE, "/mcp", call)).body["result"]["structuredContent"]
        assert error["error"] == f"images: result 0 of job {job} is video/mp4, not image"


class TestRetriedTasks:
    async def test_are_judged_by_todays_rules(self, server: GuardedServer) -> None:
        recorded: tuple[dict[str, Any], ...] = ({"prompt": f"a {BLOCKED}"}, {"num_inference_steps": 901})
        for fields in recorded:
            task = await server.done(**fields)
            answer = await answered(server, ALICE, f"/text_to_image/retry?task_id={task}")
            assert (answer.status, answer.body["field"]) == (400, *fields)

    async def test_have_their_images_and_pay_for_them(self, server: GuardedServer) -> None:
        body = {**APPLE, "image": PHOTO, "width": 64, "height": 64, "seed": 7}
        first = (await answered(server, ALICE, "/image_to_image/submit", body)).body["task_id"]
        await answered(server, ALICE, f"/image_to_image/cancel?task_id={first}", method="PUT")
        again = await answered(server, ALICE, f"/image_to_image/retry?task_id={first}")
        assert (again.status, again.body["status"]) == (200, "pending")
        assert again.body["task_id"] != first
        jobs = [await server.desk.get(each) for each in (first, again.body["task_id"])]
        files = [await server.storage.get(job.inputs["image"]) for job in jobs]
        assert files[0] == files[1]
        own = ("prompt", "seed", "width", "strength", "scheduler", "num_inference_steps", "task", "model")
        assert len({tuple(job.request[name] for name in own) for job in jobs}) == 1
        # Deleting them deletes what they were made of.
        await answered(server, ALICE, f"/api/{first}/result", method="DELETE")
        assert not await server.storage.exists(jobs[0].inputs["image"])
        gone = await answered(server, ALICE, f"/image_to_image/retry?task_id={first}")
        assert (gone.status, gone.body["field"]) == (400, "task_id")

    async def test_are_no_jobs_whose_images_were_not_kept(self, server: GuardedServer) -> None:
        body = {**APPLE, "image": PHOTO, "width": 64, "height": 64}
        job = (await answered(server, ALICE, "/api/tiny/i2i", body)).body["session_id"]
        await answered(server, ALICE, f"/api/{job}", method="DELETE")
        assert not await server.storage.exists((await server.desk.get(job)).inputs["image"])
        answer = await answered(server, ALICE, f"/image_to_image/retry?task_id={job}")
        assert (answer.status, answer.body["error"]) == (
            400,
            f"task_id: the images of task {job} are no longer kept; submit them again",
        )


class TestWaiting:
    async def left(self, server: GuardedServer, address: str, prefer: str) -> Message:
        """Ask for a prediction, and leave once its job is on record; return what was answered first."""
        before = {job.id for job in (await server.desk.page(None, None, 100)).jobs}
        body = json.dumps({"input": APPLE}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Message] = []

        async def receive() -> Message:
            if messages:
                return messages.pop()
            async with asyncio.timeout(20):
                # The desk tells nobody of a job that is new.
                while {job.id for job in (await server.desk.page(None, None, 100)).jobs} == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = {"authorization": f"Bearer {ALICE}", "content-type": "application/json", "prefer": prefer}
        headers |= {"host": "here", "content-length": str(len(body))}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": address,
            "raw_path": address.encode(),
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("here", 80),
        }
        await server.app(scope, receive, send)
        return sent[0]

    async def newest(self, server: GuardedServer) -> str:
        (job, *_) = (await server.desk.page(None, None, 1)).jobs
        return str(job.state)

    async def test_of_cog_ends_with_its_client(self, server: GuardedServer) -> None:
        assert (await self.left(server, "/predictions", "wait"))["status"] == 499
        assert await self.newest(server) == "cancelled"

    async def test_of_replicate_leaves_the_prediction(self, server: GuardedServer) -> None:
        assert (await self.left(server, "/replicate/v1/predictions", "wait"))["status"] == 499
        assert await self.newest(server) in ("pending", "processing")

    async def test_of_cog_ends_with_the_deadline(self, server: GuardedServer) -> None:
        body = {"input": {**APPLE, "deadline_s": 0.3}}
        answer = await answered(server, ALICE, "/predictions", body)
        assert answer.status in (200, 504)
        assert "deadline" in json.dumps(answer.body)
        assert await self.newest(server) in ("cancelled", "failed")


async def test_the_next_page_is_an_address_behind_any_proxy(
    server: GuardedServer, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "PAGE", 1)
    async with server.client(ALICE) as client:
        prefix = {"X-Forwarded-Prefix": "/pictures"}
        first = (await client.get("/replicate/v1/predictions", headers=prefix)).json()
        assert first["next"].startswith("http://here/pictures/replicate/v1/predictions?cursor=")
        second = (await client.get(first["next"].replace("/pictures", ""), headers=prefix)).json()
    assert second["next"] != first["next"]
    assert {each["id"] for each in second["results"]}.isdisjoint(each["id"] for each in first["results"])


async def test_what_starts_no_work_is_free_and_answered_to_the_end(server: GuardedServer, ids: dict[str, str]) -> None:
    image = ids["image"]
    calls = [
        ("POST", "/sdapi/v1/options", {}),
        ("POST", "/sdapi/v1/interrupt", {}),
        ("POST", "/sdapi/v1/skip", {}),
        ("POST", "/sdapi/v1/refresh-checkpoints", {}),
        ("POST", "/ollama/api/show", {"model": "tiny"}),
        ("POST", f"/replicate/v1/predictions/{image}/cancel", {}),
        ("POST", f"/predictions/{image}/cancel", {}),
        ("PUT", f"/text_to_image/cancel?task_id={image}", {}),
    ]
    for _ in range(2):
        statuses = [(await answered(server, BOB, path, body, method)).status for method, path, body in calls]
        # Bob has no such jobs.
        assert statuses == [200] * 5 + [404] * 3
    server.drain.refusing = True
    try:
        answers = [(await answered(server, ALICE, path, body, method)).status for method, path, body in calls]
    finally:
        server.drain.refusing = False
    assert answers == [200] * 8
