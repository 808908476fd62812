"""A request's events as the answer's lines of JSON: one for each step, then one with the image.

{"model", "created_at", "completed", "total", "done": false}   while it is generated; last comes
{"model", "created_at", "response": "", "image", "seed", "done": true, "done_reason": "stop", ...}   or
{"error"}, and "retry_after_s" where trying again may help.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from api.http.requests.source_images import source_fields
from api.ollama.forms import OllamaForm, OllamaOptions
from core.errors import JubakoError, fields_named, retry_fields
from core.generation.draft import Draft
from core.generation.events import Event, Loading, Picture, Queued, Started, Step
from core.generation.hints import joined_hints, renamed
from core.generation.request import GenerationRequest, Task
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.reading.uploads import in_image_thread
from gateway.metrics import measured
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import entry_named, first_task

LATEST = ":latest"
"""The tag that Ollama adds to model names without one."""
NAMES = {"num_inference_steps": "steps", "image": "images", "task": "model"}
"""Ollama's names for a draft's fields, where they differ."""
SECOND_NS = 10**9


async def generated_lines(gateway: Gateway, form: OllamaForm, unknown: str | None) -> AsyncGenerator[str, None]:
    """Generate, and yield the lines; `unknown` is a hint about other fields. Raises the JubakoError that ended it."""
    with measured() as measure, fields_named(NAMES):
        started_s, waited_s, hint = time.monotonic(), 0.0, unknown
        request = await _admitted(gateway, form)
        measure.model, measure.task = request.model, request.task
        async with aclosing(gateway.draw(request)) as events:
            async for event in events:
                if isinstance(event, Started):
                    waited_s, hint = event.waited_s, joined_hints(unknown, event.hint)
                if isinstance(event, Picture):
                    image = await in_image_thread(encode_result, request, event, OutputFormat.PNG, 100)
                    seconds = {"total_duration": time.monotonic() - started_s, "load_duration": waited_s}
                    yield line({**_head(form), **_end(event, image, hint), **_in_ns(seconds)})
                elif isinstance(event, Loading | Queued | Started | Step):
                    yield line({**_head(form), **_progress(event, request), "done": False})


def model_named(catalogue: Catalogue, name: str) -> Entry:
    """Return a model by its name here, with or without Ollama's tag. Raises UnknownModel."""
    return entry_named(catalogue, name, name.removesuffix(LATEST))


def line(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields) + "\n"


def error_line(error: JubakoError) -> str:
    return line({"error": error.message, **retry_fields(error)})


async def _admitted(gateway: Gateway, form: OllamaForm) -> GenerationRequest:
    request = await gateway.admit(_draft(form, model_named(gateway.catalogue, form.model)))
    return request.model_copy(update={"hints": tuple(renamed(hint, NAMES) for hint in request.hints)})


def _draft(form: OllamaForm, entry: Entry) -> Draft:
    task = first_task(entry, Task.EDIT, Task.IMAGE_TO_IMAGE) if form.images else Task.TEXT_TO_IMAGE
    images = source_fields(form.images, task, "images") if form.images else {}
    options = {name: getattr(form.options, name) for name in OllamaOptions.model_fields}
    return Draft.of(form, model=entry.id, task=task, num_inference_steps=form.steps, progress=True, **options, **images)


def _head(form: OllamaForm) -> dict[str, Any]:
    return {"model": form.model, "created_at": datetime.now(UTC).isoformat()}


def _progress(event: Event, request: GenerationRequest) -> dict[str, int]:
    if isinstance(event, Step):
        return {"completed": event.step, "total": event.steps}
    return {"completed": 0, "total": request.denoising_steps}


def _end(picture: Picture, file: bytes, hint: str | None) -> dict[str, Any]:
    hinted = {} if hint is None else {"hint": hint}
    done = {"response": "", "done": True, "done_reason": "stop"}
    image = {"image": base64.b64encode(file).decode(), "seed": picture.seed, "skipped_steps": picture.skipped_steps}
    return {**done, **image, **hinted}


def _in_ns(seconds: Mapping[str, float]) -> dict[str, int]:
    return {name: round(value * SECOND_NS) for name, value in seconds.items()}
