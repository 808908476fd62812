"""The kind of job that is one generation request: turns its events into job updates, and its results into files."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

from core.generation.events import Clip, Event, Loading, Picture, Preview, Queued, Result, Started, Step
from core.generation.request import GenerationRequest
from gateway.media.encoding import OutputFormat, encode_preview, encode_result, has_sound
from jobs.job import Job
from jobs.kinds import File, JobUpdate, NumberedFile

Draw = Callable[[GenerationRequest], AsyncGenerator[Event, None]]


@dataclass(frozen=True)
class GenerationJobs:
    draw: Draw
    """`Gateway.draw`."""

    def restore(self, fields: Mapping[str, Any]) -> GenerationRequest:
        return GenerationRequest.model_validate(fields)

    async def carry_out(self, request: GenerationRequest, job: Job) -> AsyncGenerator[JobUpdate | NumberedFile, None]:
        done = [0.0] * request.num_images
        async with aclosing(self.draw(request)) as events:
            async for event in events:
                match event:
                    case Picture() | Clip():
                        yield NumberedFile(event.index, await asyncio.to_thread(_file, request, event, job))
                    case Step():
                        done[event.index] = event.step / event.steps
                        yield _step(event, sum(done) / len(done))
                    case Preview():
                        yield await asyncio.to_thread(_preview, event)
                    case _:
                        yield _update(event)


def _file(request: GenerationRequest, result: Result, job: Job) -> File:
    output_format = OutputFormat(job.output_format)
    data = encode_result(request, result, output_format, job.quality)
    heard = has_sound(result, output_format)
    return File(data, output_format.media_type, result.seed, result.skipped_steps, result.tiled, heard)


def _preview(preview: Preview) -> JobUpdate:
    image = "data:image/png;base64," + base64.b64encode(encode_preview(preview.image)).decode()
    return JobUpdate("preview", details={"step": preview.step, "index": preview.index, "image": image})


def _step(event: Step, share: float) -> JobUpdate:
    details = {"step": event.step, "steps": event.steps, "index": event.index, "skipped": event.skipped}
    return JobUpdate("step", share, f"Step {event.step} of {event.steps}", details)


def _loading(event: Loading) -> JobUpdate:
    message = "Loading the model" if event.download is None else "Downloading the model"
    download = event.download and asdict(event.download)
    return JobUpdate("loading", message=message, details={"loaded": event.progress, "download": download})


def _update(event: Event) -> JobUpdate:
    match event:
        case Queued():
            return JobUpdate("queued", details={"position": event.position})
        case Loading():
            return _loading(event)
        case Started():
            return JobUpdate("started", message="Generation started", details={"hint": event.hint}, hint=event.hint)
        case _:
            raise AssertionError(f"{event} ends a request and is raised as an error")
