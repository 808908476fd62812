"""The family of a pipeline that no family declares, made of what its class's signature says, as data of one entry.

Which of its modules share batches is tested when the model is first loaded (`runners.certifying`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ConfigDict, Field

from core.generation.request import GenerationRequest, Task
from core.validation import Strict
from models.catalogue.families.base import Family, PromptWindow, standard_arguments
from models.catalogue.families.samplers import DIFFUSION, FLOW, FLOW_MULTISTEP
from models.catalogue.families.schedulers import Samplers, SchedulerSpec

GENERIC = "generic"
CHECKPOINT = "checkpoint"
"""The checkpoint's own sampler, exactly as configured."""
AS_ASKED: Mapping[str, Any] = {"clean_caption": False, "use_resolution_binning": False}
"""Values that keep some pipelines from rewriting the prompt, or from generating at another size and resizing."""
_FLOW_EULER = "FlowMatchEulerDiscreteScheduler"
_DISTILLED = {"LCMScheduler", "TCDScheduler"}
"""Samplers to which their pipelines pass arguments that other samplers refuse."""


class TaskPipeline(Strict):
    """The pipeline of one task."""

    model_config = ConfigDict(protected_namespaces=())

    pipeline: str
    """The diffusers class."""
    arguments: tuple[str, ...]
    """The arguments of its call that requests can set."""


class GenericPipeline(Strict):
    """What the engine must know about a pipeline of any class."""

    tasks: Mapping[Task, TaskPipeline] = Field(min_length=1)
    scheduler: str
    """The class of the checkpoint's own."""
    flow: bool = False
    """Whether that is for flow matching instead of diffusion."""
    denoiser: str = "transformer"
    """The component that denoises."""
    size_multiple_px: int = Field(default=16, ge=1)
    frames_multiple: int = Field(default=1, ge=1)
    prompt_tokens: Mapping[str, int | None] = Field(default_factory=dict)
    """How many tokens of a prompt are read, by tokenizer; None: the tokenizer's own maximum."""

    @property
    def family(self) -> Family:
        pipelines = {task: each.pipeline for task, each in self.tasks.items()}
        taken = {each.pipeline: frozenset(each.arguments) for each in self.tasks.values()}
        return Family(
            name=GENERIC,
            pipelines=pipelines,
            bases=(),
            parts=(),
            schedulers=self._samplers(),
            size_multiple_px=self.size_multiple_px,
            denoiser=self.denoiser,
            arguments=partial(generic_arguments, taken, pipelines),
            negative_prompt=any("negative_prompt" in arguments for arguments in taken.values()),
            frames_multiple=self.frames_multiple,
            inputs=taken,
            # Unknown, so assume that some passes have them.
            masks=True,
            prompt_windows=tuple(PromptWindow(*window) for window in self.prompt_tokens.items()),
            guided_above=1.0,
        )

    def _samplers(self) -> Samplers:
        """Return the checkpoint's own sampler, and those that can replace it."""
        flow = {"use_flow_sigmas": True} if self.flow and self.scheduler != _FLOW_EULER else {}
        own = {CHECKPOINT: SchedulerSpec(self.scheduler, flow)}
        kin = (FLOW if self.scheduler == _FLOW_EULER else FLOW_MULTISTEP) if self.flow else DIFFUSION
        exchangeable = {spec.class_name for spec in kin.values()} - _DISTILLED
        return Samplers({**own, **kin.bases} if self.scheduler in exchangeable else own)


def generic_arguments(
    taken: Mapping[str, frozenset[str]], pipelines: Mapping[Task, str], request: GenerationRequest
) -> dict[str, Any]:
    """Return the arguments of a request that its pipeline takes."""
    arguments = {**standard_arguments(request), **AS_ASKED}
    allowed = taken[pipelines[request.task]]
    if request.images:
        arguments["image"] = request.images[0]
    if "image" in arguments and "width" not in allowed:
        # The result has the image's size.
        arguments["image"] = arguments["image"].resize((request.width, request.height))
    if request.task.is_video:
        arguments |= {"video_length": request.num_frames, "frames": request.num_frames}
    # Some pipelines accept an empty text for "none", but not None.
    return {name: value for name, value in arguments.items() if name in allowed and value is not None}
