"""The events of an admitted request, and the answer's fields about the request as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from api.openai.drafting import AdmittedImages
from core.errors import fields_named
from core.generation.events import Event, Started
from core.generation.hints import joined_hints
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway

PATCH_PX = 16
"""Side of the square that counts as one token; about as many tokens as OpenAI counts."""


class Generation:
    """One run of a request; after its `Started` event it also knows the hint and the prompt's tokens."""

    def __init__(self, gateway: Gateway, admitted: AdmittedImages) -> None:
        self._gateway = gateway
        self._admitted = admitted
        self._started = Started(0.0)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the events; `Started` also has the hint about ignored parameters. Raises JubakoError."""
        with fields_named(self._admitted.names):
            async with aclosing(self._gateway.draw(self._admitted.request)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self._started = replace(event, hint=joined_hints(self._admitted.hint, event.hint))
                        yield self._started
                    else:
                        yield event

    @property
    def upscales(self) -> bool:
        """Whether images are upscaled after they are generated."""
        return self._admitted.request.upscale is not None

    @property
    def hint_field(self) -> dict[str, str]:
        """The `hint` field, if there is one; OpenAI's API has no such field."""
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
