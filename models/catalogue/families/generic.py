"""The family of a pipeline that nobody declared: what its class's signature says, as data of one entry.

Which of its modules share batches is not declared but tested, when the model is first loaded (`runners.certifying`).
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
"""The sampler that is the checkpoint's own, just as it is configured."""
AS_ASKED: Mapping[str, Any] = {"clean_caption": False, "use_resolution_binning": False}
"""Arguments of some pipelines, which by default change the prompt, or generate in another size and resize it."""
_FLOW_EULER = "FlowMatchEulerDiscreteScheduler"
_DISTILLED = {"LCMScheduler", "TCDScheduler"}
"""Their pipelines give them arguments that others refuse."""


class TaskPipeline(Strict):
    """What does one task."""

    model_config = ConfigDict(protected_namespaces=())

    pipeline: str
    """The diffusers class."""
    arguments: tuple[str, ...]
    """What its call takes, of what requests may say."""


class GenericPipeline(Strict):
    """What the engine must know of a pipeline, whatever its class."""

    tasks: Mapping[Task, TaskPipeline] = Field(min_length=1)
    scheduler: str
    """The class of the checkpoint's own."""
    flow: bool = False
    """Whether that follows a flow instead of a diffusion's noise."""
    denoiser: str = "transformer"
    """The component that denoises."""
    size_multiple_px: int = Field(default=16, ge=1)
    frames_multiple: int = Field(default=1, ge=1)
    prompt_tokens: Mapping[str, int | None] = Field(default_factory=dict)
    """By tokenizer: how many tokens of a prompt are read; None: as many as it says itself."""

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
            # Nobody knows whether some passes have them.
            masks=True,
            prompt_windows=tuple(PromptWindow(*window) for window in self.prompt_tokens.items()),
            guided_above=1.0,
        )

    def _samplers(self) -> Samplers:
        """Return the checkpoint's own, and those that it can be exchanged for."""
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
        # Its result has the size of the image.
        arguments["image"] = arguments["image"].resize((request.width, request.height))
    if request.task.is_video:
        arguments |= {"video_length": request.num_frames, "frames": request.num_frames}
    # Some pipelines know an empty text as the absence of one, but not None.
    return {name: value for name, value in arguments.items() if name in allowed and value is not None}
