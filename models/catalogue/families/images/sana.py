"""SANA, and SANA-Sprint, which is distilled to a few steps: linear attention over latents of 32x32 pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import (
    CallStage,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    Unguided,
    standard_arguments,
)
from models.catalogue.families.samplers import FLOW_MULTISTEP
from models.catalogue.families.schedulers import Samplers, SchedulerSpec

TEXT_TOKENS = 300
VAE_FACTOR = 32
SPLIT_STEPS = 2
"""The only number of steps for which Sprint's pipeline has an intermediate timestep."""


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """By default the pipeline generates at one of its own sizes and scales the result; None is no negative prompt."""
    arguments = {**standard_arguments(request), "use_resolution_binning": False}
    return {**arguments, "negative_prompt": request.negative_prompt}


def _sprint_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Guidance is distilled; for other numbers of steps the pipelines refuse their own intermediate timestep."""
    arguments = {**standard_arguments(request), "use_resolution_binning": False}
    del arguments["negative_prompt"]
    return arguments if request.num_inference_steps == SPLIT_STEPS else {**arguments, "intermediate_timesteps": None}


SANA = Family(
    name="sana",
    pipelines={Task.TEXT_TO_IMAGE: "SanaPipeline"},
    bases=("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",),
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        Part("vae", CallStage.ENCODE, "encode", casts=True, pixels_per_token=VAE_FACTOR**2),
        Part("vae", CallStage.DECODE, "decode", casts=True),
        Part("transformer", CallStage.DENOISE),
    ),
    schedulers=FLOW_MULTISTEP,
    size_multiple_px=VAE_FACTOR,
    arguments=_arguments,
    # 300 with the first, and the last of the instruction that the pipeline puts before every prompt.
    prompt_windows=(PromptWindow(tokens=TEXT_TOKENS - 2),),
    text_tokens=TextTokens(TEXT_TOKENS, TEXT_TOKENS),
    masks=True,
    chooses_attention=False,
    unguided=Unguided.FIRST_HALF,
)

SANA_SPRINT = replace(
    SANA,
    name="sana-sprint",
    pipelines={Task.TEXT_TO_IMAGE: "SanaSprintPipeline", Task.IMAGE_TO_IMAGE: "SanaSprintImg2ImgPipeline"},
    bases=("Efficient-Large-Model/Sana_Sprint_1.6B_1024px_diffusers",),
    schedulers=Samplers({"scm": SchedulerSpec("SCMScheduler")}),
    arguments=_sprint_arguments,
    negative_prompt=False,
    unguided=None,
)
