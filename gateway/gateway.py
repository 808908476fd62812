"""Between the contracts and the runners: checks requests, and generates them.

Every contract goes through here; none talks to a runner itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Protocol

from core.deadline import Deadline
from core.errors import RunnerLost
from core.generation.draft import Draft
from core.generation.events import Clip, Event, Failed, Picture, Preview, Result, Started
from core.generation.hints import joined_hints, vocabulary_hint
from core.generation.prompt_syntax import plain_text
from core.generation.request import GenerationRequest
from gateway.media.encoding import DEFAULT_QUALITY, OutputFormat, idle_quality, idle_sound
from gateway.media.kept_pixels import on_white, with_kept_pixels
from gateway.media.reading.uploads import in_image_thread
from gateway.request_parts import in_whole, parts_of
from gateway.residency import Residency
from gateway.runner import Runner
from gateway.safety.content_policy import ContentPolicy
from gateway.upscaling import Upscaler
from models.catalogue.catalogue import Catalogue, unknown_words
from models.catalogue.resolving.resolve import ServerLimits, resolve


class Meter(Protocol):
    """Counts what callers use; `access.rates` has one."""

    async def count_further(self, requests: int) -> None:
        """Count requests that the door did not, such as those of a batch. Raises RateExceeded or InvalidRequest."""

    async def charge(self, request: GenerationRequest, other_px: int = 0) -> None:
        """Count a request for the caller being served; `other_px` are pixels decoded or encoded in addition.

        Raises RateExceeded, InvalidRequest, or Forbidden for a priority that the caller may not have.
        """

    async def charge_pixels(self, field: str, pixels: int) -> None:
        """Count pixels that are decoded and encoded without a model.

        Raises RateExceeded, or InvalidRequest for the `field` that makes them too many.
        """


@dataclass(frozen=True)
class Gateway:
    catalogue: Catalogue
    """Only the models that are served."""
    runners: Mapping[str, Runner]
    """By model."""
    limits: ServerLimits
    residency: Residency
    meter: Meter
    policy: ContentPolicy
    upscaler: Upscaler = field(default_factory=Upscaler)
    managed: bool = True
    """Whether callers may load and unload models."""

    async def admit(
        self,
        draft: Draft,
        *,
        background: bool = False,
        uploaded_px: int | None = None,
        encoded_px: int = 0,
        max_images: int = 0,
    ) -> GenerationRequest:
        """Complete a draft, check it and charge its caller; `draw` takes the result, in this process or another.

        A background request has no deadline unless its draft sets one. `uploaded_px` counts the pixels of all uploads,
        if the draft has only parts of them. `encoded_px` counts those of each image in the answer, if it is larger than
        the generated one. `max_images` is how many the contract allows, even if the server makes fewer at once; it
        does not apply to layers, which must be made together. Raises InvalidRequest, UnknownModel, RateExceeded or
        Forbidden.
        """
        request = await self._resolve(draft, background, max_images)
        answered_px = max(encoded_px, prod(request.result_size))
        further_px = (answered_px - prod(request.generated_size)) * request.num_images
        decoded_px = draft.decoded_px if uploaded_px is None else uploaded_px
        await self.meter.charge(request, decoded_px + further_px)
        await self.policy.check_request(request)
        return request if request.upscale is None else request.hinted(*filter(None, [self.upscaler.hint]))

    async def check(self, draft: Draft) -> GenerationRequest:
        """Complete and check a draft without charging for it. Raises InvalidRequest or UnknownModel."""
        request = await self._resolve(draft, background=True, max_images=0)
        await self.policy.check_request(request)
        return request

    async def draw(self, request: GenerationRequest, *, keep: bool = True) -> AsyncGenerator[Event, None]:
        """Generate an admitted request and yield its events, up to its last result; closing the generator cancels it.

        More images than the server makes at once are made in consecutive parts. Where a mask is black, results have
        exactly the pixels of the request's image, unless `keep` is false: then the caller restores them. With a mask,
        results are RGB, transparency shown on white. Raises UnknownModel for a model that is no longer served, or else
        the JubakoError that ended the request.
        """
        deadline = Deadline(request.deadline_s)
        for first, part in parts_of(request, self.limits.max_num_images):
            async with aclosing(self._draw_part(part, deadline, keep)) as events:
                async for event in events:
                    if (shown := in_whole(event, first)) is not None:
                        yield shown

    def with_file_hints(
        self, request: GenerationRequest, output_format: OutputFormat, quality: int = DEFAULT_QUALITY
    ) -> GenerationRequest:
        """Return an admitted request with hints about options that its file format ignores."""
        sounds = request.task.is_video and self.catalogue.get(request.model).family_spec.vocoder is not None
        return request.hinted(*idle_quality(output_format, quality), *(idle_sound(output_format) if sounds else ()))

    async def _draw_part(
        self, request: GenerationRequest, deadline: Deadline, keep: bool
    ) -> AsyncGenerator[Event, None]:
        runner, results = self.runners[self.catalogue.get(request.model).id], 0
        async with (
            self.residency.using(request.model, deadline),
            aclosing(runner.generate(deadline.remaining(request))) as events,
        ):
            async for event in events:
                match event:
                    case Failed():
                        raise event.error
                    case Started():
                        unknown = vocabulary_hint(self._unknown_words(request))
                        yield replace(event, hint=joined_hints(*request.hints, unknown, event.hint))
                        continue
                    case Preview() if self.policy.hides_previews:
                        continue
                    case Picture() | Clip():
                        if request.mask is not None and isinstance(event, Picture):
                            finished = partial(with_kept_pixels, request) if keep else on_white
                            event = await in_image_thread(finished, event)  # noqa: PLW2901
                        await self.policy.check_result(event)
                        event = await self._upscaled(request, event, deadline)  # noqa: PLW2901
                        results += 1
                yield event
        if results < request.num_images:
            raise RunnerLost

    async def _upscaled(self, request: GenerationRequest, result: Result, deadline: Deadline) -> Result:
        if request.upscale is None or not isinstance(result, Picture):
            return result
        async with deadline.limiting("while the image was upscaled"), self.upscaler.places:
            return replace(result, image=await self.upscaler.upscaled(result.image, request.upscale))

    def _unknown_words(self, request: GenerationRequest) -> list[str]:
        """Return the words of a request's prompt that its model was not trained on."""
        entry = self.catalogue.get(request.model)
        return unknown_words(
            entry, plain_text(request.prompt, request.prompt_syntax), [lora.name for lora in request.loras]
        )

    async def _resolve(self, draft: Draft, background: bool, max_images: int) -> GenerationRequest:
        entry = self.catalogue.default if draft.model is None else self.catalogue.get(draft.model)
        limits = self.limits
        if not entry.family_spec.layered:
            limits = replace(limits, max_num_images=max(max_images, limits.max_num_images))
        # In a thread, since it may resize large images.
        return await asyncio.to_thread(resolve, draft, self.catalogue, limits, background=background)
