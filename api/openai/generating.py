"""The events of an admitted request, with what its answer says of the whole of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from api.openai.drafting import AdmittedImages
from core.generation.events import Event, Started
from core.generation.hints import joined
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway

PATCH_PX = 16
"""Side of the square of pixels that counts as one token; OpenAI's images are about as many tokens."""


class Generation:
    """Generates once; knows the request's start as soon as it was there."""

    def __init__(self, gateway: Gateway, admitted: AdmittedImages) -> None:
        self._gateway = gateway
        self._admitted = admitted
        self._started = Started(0.0)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events, hints about ignored parameters among those about the prompt. Raises JubakoError."""
        async with aclosing(self._gateway.draw(self._admitted.request)) as events:
            async for event in events:
                if isinstance(event, Started):
                    self._started = replace(event, hint=joined(self._admitted.hint, event.hint))
                    yield self._started
                else:
                    yield event

    @property
    def upscales(self) -> bool:
        """Whether images are larger than what is generated."""
        return self._admitted.request.upscale is not None

    @property
    def hint_field(self) -> dict[str, str]:
        """The field of answers and events that OpenAI's API does not have."""
        return {} if self._started.hint is None else {"hint": self._started.hint}

    def usage(self, num_images: int) -> dict[str, Any]:
        """Return the tokens used: the prompt's, as the model's tokenizer counts them, and patches of 16x16 pixels."""
        request = self._admitted.request
        text_tokens = self._started.prompt_tokens or 0
        image_tokens, output_tokens = _input_patches(request), num_images * _patches(*request.result_size)
        return {
            "input_tokens": text_tokens + image_tokens,
            "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
            "output_tokens": output_tokens,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": output_tokens},
            "total_tokens": text_tokens + image_tokens + output_tokens,
        }


def _input_patches(request: GenerationRequest) -> int:
    return sum(_patches(*image.size) for image in request.images or (request.image,) if image is not None)


def _patches(width: int, height: int) -> int:
    return -(-width // PATCH_PX) * -(-height // PATCH_PX)
