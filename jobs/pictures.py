"""Jobs for pictures and videos: a drawing's events as a job tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from core import events
from core.events import Event
from core.request import GenerationRequest
from jobs.job import Job
from jobs.kinds import File, Made, Told


class Producer(Protocol):
    """What draws, and what makes files of it."""

    def draw(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield events down to the last result; raise the JubakoError that ended the drawing."""

    def encode(self, request: GenerationRequest, result: events.Result, job: Job) -> File:
        """Make the file of one result; takes time."""

    def encode_preview(self, preview: events.Preview) -> str:
        """Return a preview as a data URL."""


@dataclass(frozen=True)
class Pictures:
    """The kind of job that is one generation request."""

    producer: Producer

    def restore(self, fields: Mapping[str, Any]) -> GenerationRequest:
        return GenerationRequest.model_validate(fields)

    async def carry_out(self, request: GenerationRequest, job: Job) -> AsyncGenerator[Told | Made, None]:
        done = [0.0] * request.num_images
        async with aclosing(self.producer.draw(request)) as happenings:
            async for event in happenings:
                match event:
                    case events.Picture() | events.Clip():
                        file = await asyncio.to_thread(self.producer.encode, request, event, job)
                        yield Made(event.index, file)
                    case events.Step():
                        done[event.index] = event.step / event.steps
                        yield _step(event, sum(done) / len(done))
                    case events.Preview():
                        image = await asyncio.to_thread(self.producer.encode_preview, event)
                        yield Told("preview", details={"step": event.step, "index": event.index, "image": image})
                    case _:
                        yield _told(event)


def _step(event: events.Step, share: float) -> Told:
    details = {"step": event.step, "steps": event.steps, "index": event.index}
    return Told("step", share, f"Step {event.step} of {event.steps}", details)


def _told(event: Event) -> Told:
    match event:
        case events.Queued():
            return Told("queued", details={"position": event.position})
        case events.Loading():
            return Told("loading", message="Loading the model", details={"loaded": event.progress})
        case events.Started():
            return Told("started", message="Generation started")
        case _:
            raise AssertionError(f"{event} ends a drawing and is raised as an error")
