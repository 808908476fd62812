"""Streams of every contract that have nothing to say: pings come, and errors have the contract's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image
from starlette.responses import StreamingResponse

from api.http.responses import streams
from api.http.responses.streams import PING, pinged, started_stream, stream
from api.jobs import routes
from api.openai import socket
from api.openai.forms import GenerationForm
from api.openai.streaming import error_text, stream_events
from api.storyboard import answers
from api.typed import streaming as typed
from api.typed.forms import Stream, TypedCall
from core.errors import GenerationFailed, LoadFailed
from core.generation.events import Event, Picture, Started
from core.generation.request import GenerationRequest
from gateway.assembly import assemble
from gateway.gateway import Gateway
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.serving.served_models import served_catalogue
from runners.state import ModelState, RunnerState
from settings import Settings
from standalone.in_process import Unmetered

PROMPT = "a red apple"


class SilentRunner:
    """Starts a request, and goes on only when it is told to."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.closed = False

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        try:
            yield Started(0.0)
            await self.told.wait()
            yield Picture(0, request.seed, Image.new("RGB", (request.width, request.height)))
        finally:
            self.closed = True

    async def state(self) -> RunnerState:
        return RunnerState(model="miniature", state=ModelState.READY)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "SILENCE_S", 0.01)


@pytest.fixture
def runner() -> SilentRunner:
    return SilentRunner()


@pytest.fixture
def gateway(runner: SilentRunner) -> Gateway:
    settings = Settings()
    return assemble(
        settings, served_catalogue(settings), {"miniature": cast(Any, runner)}, Unmetered(), ContentPolicy()
    )


async def read_until(texts: AsyncIterator[Any], wanted: Callable[[str], bool]) -> str:
    async for text in texts:
        if wanted(str(text)):
            return str(text)
    raise AssertionError("the stream ended")


async def texts_of(response: Any) -> AsyncIterator[str]:
    assert isinstance(response, StreamingResponse)
    async for text in response.body_iterator:
        yield str(text)


class Socket:
    """What is sent to a client."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = False

    async def accept(self) -> None:
        pass

    async def send_json(self, body: dict[str, Any]) -> None:
        self.sent.put_nowait(body)

    async def close(self) -> None:
        self.closed = True

    async def until(self, kind: str, field: str) -> dict[str, Any]:
        while (body := await self.sent.get())[field] != kind:
            pass
        return body


async def test_a_typed_stream_pings_and_goes_on(gateway: Gateway, runner: SilentRunner) -> None:
    call: TypedCall[Stream] = TypedCall(cast(Any, None), Stream(prompt=PROMPT, progress=False))
    texts = texts_of(await typed.EventStream.to_http_response(typed.stream_events(gateway, call), None))
    await read_until(texts, lambda text: text == PING)
    runner.told.set()
    assert "event: done" in await read_until(texts, lambda text: "done" in text)


async def test_openais_stream_pings_and_goes_on(gateway: Gateway, runner: SilentRunner) -> None:
    form = GenerationForm(prompt=PROMPT, stream=True)
    texts = texts_of(await started_stream(stream_events(gateway, form), error_text))
    await read_until(texts, lambda text: text == PING)
    await read_until(texts, lambda text: text == PING)
    runner.told.set()
    await read_until(texts, lambda text: "image_generation.completed" in text)


async def test_openais_socket_pings_and_goes_on(
    gateway: Gateway, runner: SilentRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "current_gateway", lambda: gateway)
    client = Socket()
    work = asyncio.create_task(socket._generate(cast(Any, client), json.dumps({"prompt": PROMPT})))
    await client.until("ping", "type")
    runner.told.set()
    assert (await client.until("done", "type"))["images"] == 1
    await work


class Desk:
    """Has one job, about which it says nothing."""

    async def get(self, _job_id: str) -> None:
        pass

    async def watch(self, _job_id: str) -> AsyncGenerator[dict[str, Any], None]:
        await asyncio.Event().wait()
        yield {}


async def test_those_who_watch_a_job_get_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "current_desk", Desk)
    texts = texts_of(await routes.events("one"))
    assert await anext(texts) == PING
    client = Socket()
    watching = asyncio.create_task(routes.events_socket(cast(Any, client), "one"))
    await client.until("ping", "event")
    watching.cancel()


async def test_a_stream_of_a_story_begins_with_a_ping_when_planning_takes_long() -> None:
    async def make(_story: Any) -> AsyncGenerator[Any, None]:
        await asyncio.sleep(0.05)
        for event in ("", ""):
            if not event:
                raise LoadFailed("the model is not there")
            yield event

    maker = SimpleNamespace(make=make)
    events = answers.stream_events(cast(Any, maker), cast(Any, None))
    texts = texts_of(await started_stream(events, answers.error_text))
    assert await anext(texts) == PING
    last = await read_until(texts, lambda text: text != PING)
    assert '"status": 500' in last
    assert '"code": "load_failed"' in last


async def test_an_error_before_anything_is_sent_is_raised() -> None:
    async def failing() -> AsyncGenerator[str, None]:
        for text in ("", ""):
            if not text:
                raise GenerationFailed("at once")
            yield text

    with pytest.raises(GenerationFailed):
        await started_stream(failing(), error_text)
    texts = texts_of(stream(failing(), lambda error: error.message))
    assert [text async for text in texts] == ["at once"]


async def test_a_reader_who_leaves_closes_what_it_read(gateway: Gateway, runner: SilentRunner) -> None:
    events = pinged(stream_events(gateway, GenerationForm(prompt=PROMPT, stream=True)), PING)
    await anext(events)
    await events.aclose()
    assert runner.closed
