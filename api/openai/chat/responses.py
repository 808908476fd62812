"""Images as responses with one `image_generation_call`: at once, or as events for which OpenAI's clients have types."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from api.http.responses.streams import PING, event_text
from api.openai.answers import made_of
from api.openai.chat.reading import TOOL, ChatImageRequest
from api.openai.drafting import AdmittedImages, admit
from api.openai.errors import openai_error
from api.openai.generating import Generation
from api.openai.streaming import render_event
from core.errors import JubakoError, retry_fields
from core.generation.events import Picture, Preview, Result
from gateway.gateway import Gateway
from gateway.metrics import measured

CALL = "response.image_generation_call"
_SHOWN = ("background", "output_format", "quality", "size")


@dataclass(frozen=True)
class Responding:
    """One response and its only item, while they are being generated."""

    admitted: AdmittedImages
    generation: Generation
    id: str = field(default_factory=lambda: f"resp_{uuid.uuid4().hex}")
    item_id: str = field(default_factory=lambda: f"ig_{uuid.uuid4().hex}")
    created_at: int = field(default_factory=lambda: int(time.time()))
    numbers: count[int] = field(default_factory=count)

    @classmethod
    async def to(cls, gateway: Gateway, asked: ChatImageRequest) -> Responding:
        """Check what is asked and charge for it. Raises what `admit` raises."""
        admitted = await admit(gateway, asked.form)
        return cls(admitted, Generation(gateway, admitted))

    def body(self, status: str, *output: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "model": self.admitted.request.model,
            "output": list(output),
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": False,
            "temperature": None,
            "top_p": None,
            "tool_choice": {"type": TOOL},
            "tools": [{"type": TOOL}],
            "usage": self._usage() if status == "completed" else None,
            **self.generation.hint_field,
        }

    def item(self, result: Result | None = None) -> dict[str, Any]:
        item = {"id": self.item_id, "type": "image_generation_call", "status": "in_progress", "result": None}
        rendered = None if result is None else render_event(result, self.admitted, self.generation)
        if rendered is None:
            return item
        shown = {name: rendered[name] for name in (*_SHOWN, "seed", "skipped_steps")}
        action = "generate" if not self.admitted.request.images and self.admitted.request.image is None else "edit"
        return {**item, "status": "completed", "result": rendered["b64_json"], "action": action, **shown}

    def event(self, name: str, **fields: Any) -> str:
        return event_text(name, {"type": name, "sequence_number": next(self.numbers), **fields})

    def of_item(self, name: str, **fields: Any) -> str:
        return self.event(name, output_index=0, item_id=self.item_id, **fields)

    def _usage(self) -> dict[str, Any]:
        used = self.generation.usage(1)
        return {
            "input_tokens": used["input_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": used["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": used["total_tokens"],
        }


async def respond(gateway: Gateway, asked: ChatImageRequest) -> dict[str, Any]:
    """Generate, and return a response. Raises JubakoError."""
    with measured() as measure:
        response = await Responding.to(gateway, asked)
        measure.model, measure.task = response.admitted.request.model, response.admitted.request.task
        (item,) = await made_of(response.generation, response.item)
        return response.body("completed", item)


async def response_events(gateway: Gateway, asked: ChatImageRequest) -> AsyncGenerator[str, None]:
    """Generate, and yield the events of a response; the last one says if it failed.

    Raises a JubakoError only before the first event.
    """
    with measured() as measure:
        response = await Responding.to(gateway, asked)
        measure.model, measure.task = response.admitted.request.model, response.admitted.request.task
        yield response.event("response.created", response=response.body("in_progress"))
        yield response.event("response.in_progress", response=response.body("in_progress"))
        try:
            async with aclosing(_item_events(response)) as events:
                async for event in events:
                    yield event
        except JubakoError as error:
            yield failed_event(response, error)
            raise


async def _item_events(response: Responding) -> AsyncGenerator[str, None]:
    yield response.event("response.output_item.added", output_index=0, item=response.item())
    yield response.of_item(f"{CALL}.in_progress")
    yield response.of_item(f"{CALL}.generating")
    async with aclosing(response.generation.events()) as events:
        async for event in events:
            match event:
                case Preview():
                    yield await asyncio.to_thread(_partial, response, event)
                case Picture():
                    item = await asyncio.to_thread(response.item, event)
                    yield response.of_item(f"{CALL}.completed")
                    yield response.event("response.output_item.done", output_index=0, item=item)
                    yield response.event("response.completed", response=response.body("completed", item))
                case _:
                    yield PING


def failed_event(response: Responding, error: JubakoError) -> str:
    """Return the event that ends a failed response; its `error` has OpenAI's code and ours."""
    shown = openai_error(error)["error"]
    code = "rate_limit_exceeded" if error.status == 429 else "server_error"
    body = {**response.body("failed"), "error": {**shown, "code": code, **retry_fields(error)}}
    return response.event("response.failed", response=body)


def _partial(response: Responding, preview: Preview) -> str:
    rendered = render_event(preview, response.admitted, response.generation)
    if rendered is None:
        return PING
    shown = {name: rendered[name] for name in _SHOWN}
    return response.of_item(
        f"{CALL}.partial_image",
        partial_image_b64=rendered["b64_json"],
        partial_image_index=rendered["partial_image_index"],
        **shown,
    )
