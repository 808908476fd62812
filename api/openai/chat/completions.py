"""Images as chat completions, in `images` of the message as OpenRouter has it: at once, or as chunks."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from api.http.responses.streams import PING
from api.openai.answers import file_of, made_of
from api.openai.chat.reading import ChatImageRequest
from api.openai.drafting import AdmittedImages, admit
from api.openai.errors import openai_error
from api.openai.generating import Generation
from core.errors import JubakoError, retry_fields
from core.generation.events import Picture, Result
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat
from gateway.metrics import measured

DONE = "data: [DONE]\n\n"


async def complete(gateway: Gateway, asked: ChatImageRequest) -> dict[str, Any]:
    """Generate, and return a completion with a choice for each image. Raises JubakoError."""
    with measured() as measure:
        admitted = await admit(gateway, asked.form)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        generation = Generation(gateway, admitted)
        images = await made_of(generation, partial(_image, admitted))
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": "", "refusal": None, "images": [image]},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for index, image in enumerate(images)
    ]
    head = _head("chat.completion", admitted)
    return {**head, "choices": choices, "usage": _usage(generation, len(images)), **generation.hint_field}


async def chunks(gateway: Gateway, asked: ChatImageRequest) -> AsyncGenerator[str, None]:
    """Generate, and yield the opening chunk, one for each image, and the closing ones.

    Raises the JubakoError that ended it.
    """
    with measured() as measure:
        admitted = await admit(gateway, asked.form)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        generation, head = Generation(gateway, admitted), _head("chat.completion.chunk", admitted)
        numbers = range(admitted.request.num_images)
        yield _chunk(head, *({"index": number, "delta": {"role": "assistant", "content": ""}} for number in numbers))
        async with aclosing(generation.events()) as events:
            async for event in events:
                if isinstance(event, Picture):
                    image = await asyncio.to_thread(_image, admitted, event)
                    yield _chunk(head, {"index": event.index, "delta": {"images": [image]}})
                else:
                    yield PING
        ends = ({"index": number, "delta": {}, "finish_reason": "stop"} for number in numbers)
        yield _chunk({**head, **generation.hint_field}, *ends)
        if asked.with_usage:
            yield _data({**head, "choices": [], "usage": _usage(generation, len(numbers))})
        yield DONE


def error_chunk(error: JubakoError) -> str:
    return _data({**openai_error(error), **retry_fields(error)})


def _head(kind: str, admitted: AdmittedImages) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": admitted.request.model,
    }


def _chunk(head: Mapping[str, Any], *choices: Mapping[str, Any]) -> str:
    return _data({**head, "choices": [{"finish_reason": None, "logprobs": None, **choice} for choice in choices]})


def _data(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _image(admitted: AdmittedImages, result: Result) -> dict[str, Any]:
    data = base64.b64encode(file_of(admitted, result)).decode()
    media_type = OutputFormat(admitted.form.output_format).media_type
    return {
        "type": "image_url",
        "image_url": {"url": f"data:{media_type};base64,{data}"},
        "index": 0,
        "seed": result.seed,
        "skipped_steps": result.skipped_steps,
    }


def _usage(generation: Generation, images: int) -> dict[str, Any]:
    used = generation.usage(images)
    return {
        "prompt_tokens": used["input_tokens"],
        "completion_tokens": used["output_tokens"],
        "total_tokens": used["total_tokens"],
    }
