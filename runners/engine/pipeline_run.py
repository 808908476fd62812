"""One picture or clip being drawn: an unmodified diffusers pipeline inside a greenlet, advanced call by call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from greenlet import getcurrent, greenlet

from core.errors import JubakoError
from core.events import Clip, Picture, Preview, Result, Step
from core.request import GenerationRequest
from models.catalogue.families import Family
from models.weights.loading import LoadedModel
from runners.engine.executor import Outcome
from runners.engine.module_calls import ModuleCall
from runners.engine.ticket import Ticket


def park(call: ModuleCall) -> Any:
    """Leave the calling picture's greenlet with `call`; comes back with the call's output."""
    engine = getcurrent().parent
    assert engine is not None, "a picture's greenlet is started by the engine's"
    return engine.switch(call)


class PipelineRun:
    """`call` is what the picture waits for; `result` is set once it is done."""

    def __init__(self, ticket: Ticket, index: int, model: LoadedModel, make_view: Callable[[], Any]) -> None:
        self.ticket = ticket
        self.index = index
        self.result: Result | None = None
        self._make_view = make_view
        self._family = model.family
        self._preview = model.preview
        self._greenlet = greenlet(self._draw)
        self._call: ModuleCall | None = None

    @property
    def urgency(self) -> int:
        return self.ticket.urgency

    @property
    def seed(self) -> int:
        return self.ticket.request.seed + self.index

    @property
    def call(self) -> ModuleCall:
        assert self._call is not None, "only a parked picture has a call"
        return self._call

    def start(self) -> None:
        """Run the pipeline up to its first batched call. Raises whatever the pipeline raises."""
        self._advance(self._greenlet.switch())

    def resume(self, outcome: Outcome) -> None:
        """Give the pipeline what it waits for and run it to its next call. Raises whatever it raises."""
        if isinstance(outcome, JubakoError):
            self._advance(self._greenlet.throw(outcome))
        else:
            self._advance(self._greenlet.switch(outcome))

    def abandon(self) -> None:
        """Unwind the pipeline; it frees its tensors."""
        self._greenlet.throw()

    def _advance(self, reached: ModuleCall | Result) -> None:
        if isinstance(reached, ModuleCall):
            self._call = reached
        else:
            self._call, self.result = None, reached

    def _draw(self) -> Result:
        output = self._make_view()(**self._arguments())
        request = self.ticket.request
        if not request.task.is_video:
            return Picture(self.index, self.seed, output.images[0])
        assert request.fps is not None, "the request of a video says how fast it plays"
        return Clip(self.index, self.seed, tuple(output.frames[0]), request.fps)

    def _arguments(self) -> dict[str, Any]:
        request = self.ticket.request
        arguments = pipeline_arguments(self._family, request, self.index)
        if request.progress or request.preview_every:
            arguments["callback_on_step_end"] = self._on_step_end
        return arguments

    def _on_step_end(self, view: Any, step_index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        request = self.ticket.request
        step = step_index + 1
        if request.progress:
            self.ticket.emit(Step(self.index, step, view.num_timesteps))
        if self._preview and request.preview_every and step % request.preview_every == 0:
            latents = self._family.preview_latents(tensors["latents"], request)  # (C, h, w)
            self.ticket.emit(Preview(self.index, step, self._preview.render(latents)))
        return {}


def pipeline_arguments(family: Family, request: GenerationRequest, index: int) -> dict[str, Any]:
    """The keyword arguments with which the plain pipeline draws picture `index` of the request."""
    return {
        **family.arguments(request),
        "generator": torch.Generator("cpu").manual_seed(request.seed + index),
    }
