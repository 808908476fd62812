"""Chat completions and responses that are images, over a real server; OpenAI's own client is in
`test_real_clients.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.contracts.openai.test_openai import data_url
from tests.support.metadata import read_parameters
from tests.support.servers.replica import Replica
from tests.support.servers.serving import parse_events, photo
from tests.support.web import client_of

APPLE = [{"role": "user", "content": "a red apple"}]
PICTURE = {"type": "image_url", "image_url": {"url": data_url(photo())}}
TOOL = {"type": "image_generation"}
EDITED: dict[str, Any] = {"model": "tiny-edit"}


@pytest.fixture
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


def opened(data: str) -> dict[str, Any]:
    """Return the parameters of an image in base64 or a data URL."""
    return read_parameters(Image.open(BytesIO(base64.b64decode(data.rpartition(",")[2]))))


def chat(http: httpx.Client, messages: Any = APPLE, **fields: Any) -> dict[str, Any]:
    answer = http.post("/v1/chat/completions", json={"model": "tiny", "messages": messages, **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def image_of(body: dict[str, Any], choice: int = 0) -> dict[str, Any]:
    message = body["choices"][choice]["message"]
    assert (message["role"], message["content"]) == ("assistant", "")
    return opened(message["images"][0]["image_url"]["url"])


def respond(http: httpx.Client, request: Any = "a red apple", tool: dict[str, Any] | None = None, **fields: Any) -> Any:
    tools = [{"type": "web_search"}, {**TOOL, **(tool or {})}]
    return http.post("/v1/responses", json={"model": "tiny", "input": request, "tools": tools, **fields})


class TestAChat:
    def test_is_answered_with_an_image(self, http: httpx.Client) -> None:
        body = chat(http, size="128x64", seed=7, num_inference_steps=3)
        parameters = image_of(body)
        assert (parameters["prompt"], parameters["seed"], parameters["width"]) == ("a red apple", 7, 128)
        assert (body["object"], body["model"], body["choices"][0]["finish_reason"]) == (
            "chat.completion",
            "tiny",
            "stop",
        )
        assert body["usage"]["completion_tokens"] == 32

    def test_has_a_choice_for_each_image(self, http: httpx.Client) -> None:
        body = chat(http, n=2, seed=7)
        assert [image_of(body, choice)["seed"] for choice in (0, 1)] == [7, 8]

    def test_of_librechat(self, http: httpx.Client) -> None:
        """danny-avila/LibreChat at 45d73b7c, api/app/clients/tools/structured/OpenRouterImageGen.js; the proportions
        are for some models only.
        """
        fields = {
            "model": "openai/gpt-5-image",
            "modalities": ["image", "text"],
            "image_config": {"aspect_ratio": "2:1"},
        }
        body = chat(http, **fields)
        assert (image_of(body)["width"], image_of(body)["height"]) == (96, 48)
        assert "openai/gpt-5-image is not here; tiny stands in for it" in body["hint"]

    def test_of_lobehub(self, http: httpx.Client) -> None:
        """lobehub/lobe-chat at d05cf920, packages/model-runtime/src/core/openaiCompatibleFactory/createImage.ts:
        `generateByChatModel`.
        """
        content = [{"text": "make it blue", "type": "text"}, PICTURE]
        parameters = image_of(chat(http, [{"content": content, "role": "user"}], stream=False, **EDITED))
        assert (parameters["task"], parameters["prompt"]) == ("edit", "make it blue")

    def test_goes_on_with_the_image_before(self, http: httpx.Client) -> None:
        before = [*APPLE, {"role": "assistant", "content": "", "images": [PICTURE]}]
        messages = [*before, {"role": "user", "content": "make it blue"}]
        body = chat(http, messages, **EDITED)
        assert image_of(body)["task"] == "edit"
        assert body["hint"] == "of the messages only the last one of the user is read"
        # A model that does not edit by instruction would only vary it.
        assert image_of(chat(http, messages))["task"] == "text-to-image"

    def test_says_what_it_ignores(self, http: httpx.Client) -> None:
        body = chat(http, temperature=1, max_tokens=100, response_format={"type": "text"})
        assert body["hint"] == "ignored, since nothing is written here: max_tokens, response_format, temperature"

    def test_streams(self, http: httpx.Client) -> None:
        body = {"model": "tiny", "messages": APPLE, "stream": True, "stream_options": {"include_usage": True}}
        lines = [line for line in http.post("/v1/chat/completions", json=body).text.splitlines() if line[:5] == "data:"]
        assert lines[-1] == "data: [DONE]"
        first, image, end, usage = (json.loads(line.removeprefix("data: ")) for line in lines[:-1])
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert opened(image["choices"][0]["delta"]["images"][0]["image_url"]["url"])["prompt"] == "a red apple"
        assert end["choices"][0]["finish_reason"] == "stop"
        assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 16)
        assert {each["object"] for each in (first, image, end, usage)} == {"chat.completion.chunk"}


class TestAResponse:
    def test_has_a_call_of_the_tool(self, http: httpx.Client) -> None:
        tool = {"size": "128x64", "quality": "low", "output_format": "webp", "model": "gpt-image-2.6-sunburst"}
        body = respond(http, tool=tool, model="gpt-5", store=True, tool_choice=TOOL).json()
        (item,) = body["output"]
        assert (body["object"], body["status"], item["type"]) == ("response", "completed", "image_generation_call")
        assert (item["size"], item["quality"], item["output_format"]) == ("128x64", "low", "webp")
        assert opened(item["result"])["prompt"] == "a red apple"
        assert "store" in body["hint"]

    def test_edits(self, http: httpx.Client) -> None:
        content = [{"type": "input_text", "text": "blue"}, {"type": "input_image", "image_url": data_url(photo())}]
        (item,) = respond(http, [{"role": "user", "content": content}], **EDITED).json()["output"]
        assert (opened(item["result"])["task"], item["action"]) == ("edit", "edit")

    def test_of_home_assistant(self, http: httpx.Client) -> None:
        """homeassistant 2026.11.0, components/openai_conversation/entity.py, for `ai_task.generate_image`: it reads the
        item of the call that is done, its size and format, and the usage at the end.
        """
        message = {"type": "message", "role": "user", "content": "a red apple"}
        developer = {"type": "message", "role": "developer", "content": "You are a voice assistant."}
        body = {
            "model": "gpt-5.6",
            "input": [developer, message],
            "max_output_tokens": 3000,
            "safety_identifier": "01JZ",
            "prompt_cache_key": "01KA",
            "service_tier": "auto",
            "store": True,
            "stream": True,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"verbosity": "medium"},
            "prompt_cache_options": {"ttl": "30m"},
            "tool_choice": TOOL,
            "tools": [{**TOOL, "model": "gpt-image-2.5-flare", "output_format": "png"}],
        }
        events = parse_events(http.post("/v1/responses", json=body).text)
        (done,) = (event.data["item"] for event in events if event.name == "response.output_item.done")
        assert (done["type"], done["output_format"], done["size"]) == ("image_generation_call", "png", "64x64")
        assert opened(done["result"])["prompt"] == "a red apple"
        last = events[-1]
        assert (last.name, last.data["response"]["usage"]["output_tokens"]) == ("response.completed", 16)

    def test_goes_on_with_the_call_before(self, http: httpx.Client) -> None:
        call = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": data_url(photo())}
        items = [*APPLE, call, {"role": "user", "content": "make it blue"}]
        answers = {action: respond(http, items, {"action": action}, **EDITED) for action in ("auto", "edit")}
        assert [opened(answer.json()["output"][0]["result"])["task"] for answer in answers.values()] == ["edit"] * 2

    def test_streams_the_events_of_the_tool(self, http: httpx.Client) -> None:
        events = parse_events(respond(http, tool={"partial_images": 1}, stream=True).iter_text())
        call = "response.image_generation_call"
        assert [event.name for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            f"{call}.in_progress",
            f"{call}.generating",
            f"{call}.partial_image",
            f"{call}.completed",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.data["sequence_number"] for event in events] == list(range(len(events)))
        done = events[-1].data["response"]
        assert done["output"] == [events[-2].data["item"]]
        assert done["usage"]["output_tokens"] == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": "a red apple", "size": "7x7"}, "size"),
        ({"messages": [7]}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b"}}]}]},
            "messages[0].content[0].image_url",
        ),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"modalities": ["text"]}, "modalities"),
        ({"model": 7}, "model"),
        ({"model": "nothing"}, "model"),
        ({"n": 11}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"image_config": {"aspect_ratio": "wide"}}, "aspect_ratio"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
    ],
)
def test_a_mistake_in_a_chat_is_named(fields: dict[str, Any], param: str, http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={"model": "tiny", "messages": APPLE, **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (404 if "nothing" in str(fields) else 400, param)


@pytest.mark.parametrize(
    ("fields", "tool", "param"),
    [
        ({"input": None}, {}, "input"),
        ({"tools": []}, {}, "tools"),
        ({"tools": None}, {}, "tools"),
        ({"previous_response_id": "resp_1"}, {}, "previous_response_id"),
        ({"n": 2}, {}, "n"),
        ({}, {"action": "edit"}, "tools.action"),
        ({}, {"action": "draw"}, "tools.action"),
        ({}, {"input_image_mask": {"image_url": data_url(photo())}}, "tools.input_image_mask"),
        ({}, {"size": "7x7"}, "size"),
        ({}, {"background": "transparent"}, "background"),
        ({}, {"output_format": "gif"}, "output_format"),
        ({"input": [{"type": "image_generation_call", "id": "ig_1"}, *APPLE]}, {}, "input[0].result"),
    ],
)
def test_a_mistake_in_a_response_is_named(
    fields: dict[str, Any], tool: dict[str, Any], param: str, http: httpx.Client
) -> None:
    body = {"model": "tiny", "input": "a red apple", "tools": [{**TOOL, **tool}], **fields}
    for stream in (False, True):
        answer = http.post("/v1/responses", json={**body, "stream": stream})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
