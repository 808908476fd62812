"""The generation of an image, a clip or an image's layers: an unmodified diffusers pipeline in a greenlet."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from greenlet import getcurrent, greenlet

from core.errors import JubakoError
from core.generation.events import Preview, Step
from core.generation.hires import SecondPass
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import Family
from models.catalogue.families.tunable import tuning_arguments
from models.weights.loading import LoadedModel
from runners.engine.delivery import Made, PipelineOutput, Waveform
from runners.engine.passes.executor import CallOutput, Outcome
from runners.engine.passes.module_calls import ModuleCall
from runners.engine.sampler_steps import SamplerStep
from runners.engine.second_pass import resized_frames, second_request, upscaled
from runners.engine.step_cache.denoising_steps import DenoisingSteps, timesteps_of
from runners.engine.text.encoding import with_encodings
from runners.engine.text.redux import with_redux
from runners.engine.ticket import Ticket
from runners.engine.views.samplers import let_draw

Reached = ModuleCall | SamplerStep | PipelineOutput
"""Where a pipeline has got to: what it waits for, or its result."""


def park(waits_for: ModuleCall | SamplerStep) -> Any:
    """Leave the calling pipeline's greenlet; return the call's output, or the step's sample, once it is there."""
    engine = getcurrent().parent
    assert engine is not None, "a pipeline's greenlet is started by the engine's"
    return engine.switch(waits_for)


class PipelineRun:
    """A pipeline's run. Each of `start`, `resume` and `stepped` runs the pipeline to what it waits for next, a batched
    call or a step of its sampler, or to its result.
    """

    def __init__(
        self,
        ticket: Ticket,
        index: int,
        model: LoadedModel,
        step_cache: StepCache,
        make_view: Callable[[GenerationRequest, DenoisingSteps | None], Any],
        upscaler: Callable[[GenerationRequest], Callable[[torch.Tensor], torch.Tensor]],
        reason_to_end: Callable[[], JubakoError | None],
    ) -> None:
        """`reason_to_end` is called at each step of a pipeline without batched calls, which only itself can stop."""
        self.ticket = ticket
        self.index = index
        self._step_cache = step_cache
        self._make_view = make_view
        self._upscaler = upscaler
        self._reason_to_end = reason_to_end
        self._family = model.family
        self._preview = model.preview
        self._steps: DenoisingSteps | None = None
        self._skipped = 0
        self._segments_done = 0
        self._tiled = False
        self._greenlet = greenlet(self._generate)

    @property
    def images(self) -> int:
        """How many of the request's it generates."""
        return self.ticket.request.num_images // self.ticket.request.runs

    @property
    def seed(self) -> int:
        return self.ticket.request.seed + self.index

    def start(self) -> Reached:
        """Start the pipeline. Raises whatever the pipeline raises."""
        reached: Reached = self._greenlet.switch()
        return reached

    def resume(self, outcome: Outcome) -> Reached:
        """Give the pipeline the outcome that it waits for. Raises whatever the pipeline raises."""
        self._tiled |= isinstance(outcome, CallOutput) and outcome.tiled
        reached: Reached = (
            self._greenlet.switch(outcome.output) if isinstance(outcome, CallOutput) else self._greenlet.throw(outcome)
        )
        return reached

    def stepped(self, sample: torch.Tensor | None) -> Reached:
        """Give the pipeline its next sample; with None, its own sampler takes the step. Raises whatever it raises."""
        reached: Reached = self._greenlet.switch(sample)
        return reached

    def abandon(self) -> None:
        """Unwind the pipeline; it frees its tensors."""
        self._greenlet.throw()

    def _steps_to_follow(self, request: GenerationRequest) -> DenoisingSteps | None:
        """Return what may answer in place of the denoiser; None if all of its calls are fully computed."""
        if self._step_cache is StepCache.OFF and request.guidance_end == 1:
            return None
        return DenoisingSteps(request, self._step_cache, self._family, park)

    def _generate(self) -> PipelineOutput:
        request = self.ticket.request
        frames, waveform = self._run(request)
        if request.hires is not None:
            larger = self._upscaled(frames, request.hires)
            frames, _ = self._run(second_request(self._family, request), larger, request.passes[0][1])
        made = Made(self._step_cache, self._skipped, self._tiled)
        return PipelineOutput.of(self.index, self.seed, frames, request.fps, made, waveform)

    def _upscaled(self, frames: torch.Tensor, hires: SecondPass) -> torch.Tensor:
        if hires.upscaler == "lanczos":
            return resized_frames(frames, hires.size)
        return upscaled(frames, hires.size, self._upscaler(self.ticket.request))

    def _run(
        self, request: GenerationRequest, image: torch.Tensor | None = None, steps_before: int = 0
    ) -> tuple[torch.Tensor, Waveform | None]:
        """Return frames, (F, C, H, W), 0 to 1, and their sound, if the family's clips have one.

        An `image`, (1, C, H, W), is the result of a first pass with `steps_before` steps.
        """
        self._steps, self._segments_done = self._steps_to_follow(request), 0
        given = {} if image is None else {"image": image}
        arguments = self._arguments(request, steps_before) | given
        try:
            view = self._make_view(request, self._steps)
            let_draw(view.scheduler, self._family.sampler(request), arguments["generator"])
            output = view(**with_encodings(view, self._family, request, with_redux(view, request, arguments)))
        finally:
            if self._steps is not None:
                self._skipped += self._steps.skipped
                self._steps.close()
        if request.task.is_video:
            return _as_tensor(output.frames[0]), waveform_of(self._family, view, output)
        images = output["images" if "images" in output else "image"]
        return _as_tensor(images[0] if request.layered else images), None

    def _arguments(self, request: GenerationRequest, steps_before: int) -> dict[str, Any]:
        # As tensors, since the pipeline's own conversion would hold up the engine's thread.
        arguments = pipeline_arguments(self._family, request, self.index) | {"output_type": "pt"}
        reports = self._family.takes(request.task, "callback_on_step_end")
        if reports and (request.progress or request.preview_every or not self._family.parts):
            arguments["callback_on_step_end"] = partial(self._on_step_end, request, steps_before)
        return arguments

    def _on_step_end(
        self,
        request: GenerationRequest,
        steps_before: int,
        view: Any,
        step_index: int,
        _timestep: Any,
        tensors: dict[str, Any],
    ) -> dict[str, Any]:
        if not self._family.parts and (why := self._reason_to_end()) is not None:
            raise why
        calls, order = step_index + 1, view.scheduler.order
        timesteps = timesteps_of(view)
        if calls % order and calls < timesteps:
            # Second-order samplers call the denoiser twice in each step but the last.
            return {}
        in_one = ceil(timesteps / order)
        steps_after = 0 if request.hires is None else request.hires.denoising_steps
        # Each segment of a clip counts the same steps again.
        step = steps_before + self._segments_done * in_one + ceil(calls / order)
        self._segments_done += calls == timesteps
        steps = steps_before + request.segments * in_one + steps_after
        if request.progress:
            skipped = self._steps is not None and self._steps.skipped_last
            for index in range(self.index, self.index + self.images):
                self.ticket.emit(Step(index, step, steps, skipped))
        if self._preview and request.preview_every and step % request.preview_every == 0:
            latents = self._family.preview_latents(tensors["latents"], request)  # (C, h, w)
            self.ticket.emit(Preview(self.index, step, self._preview.render(latents)))
        return {}


def waveform_of(family: Family, pipeline: Any, output: Any) -> Waveform | None:
    """Return the sound that a pipeline has generated; None for a family whose clips are silent."""
    if family.vocoder is None:
        return None
    return Waveform.of(output.audio[0], getattr(pipeline, family.vocoder).config.output_sampling_rate)


def _as_tensor(frames: Any) -> torch.Tensor:
    """Return frames as (F, C, H, W), 0 to 1, even from pipelines that cannot return tensors."""
    if isinstance(frames, torch.Tensor):
        return frames
    if isinstance(frames, np.ndarray):
        return torch.from_numpy(frames).movedim(-1, 1)
    return torch.from_numpy(VaeImageProcessor.pil_to_numpy(list(frames))).movedim(-1, 1)


def pipeline_arguments(family: Family, request: GenerationRequest, index: int) -> dict[str, Any]:
    """The keyword arguments with which the plain pipeline generates image `index` of the request."""
    return {
        **family.arguments(request),
        **tuning_arguments(family, request),
        "generator": torch.Generator("cpu").manual_seed(request.seed + index),
    }
