"""Samplers by the names that people use, as diffusers classes with their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SchedulerSpec:
    class_name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Settings that this class names differently: its own name, by the one in the checkpoint's configuration."""
    max_steps: int | None = None
    """Where the sampler itself is bounded."""


# By default, DDIM clips to the range of pixels, which latents exceed.
DIFFUSION: Mapping[str, SchedulerSpec] = {
    "ddim": SchedulerSpec("DDIMScheduler", {"clip_sample": False}),
    "dpmpp_2m": SchedulerSpec("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": SchedulerSpec("EulerDiscreteScheduler"),
    # What models distilled to a few steps were trained with: the first step starts from pure noise.
    "euler_trailing": SchedulerSpec("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    # With more, a schedule that ends in pure noise (`rescale_betas_zero_snr`) begins with a step upwards, which is NaN.
    "euler_a": SchedulerSpec("EulerAncestralDiscreteScheduler", max_steps=250),
    # Its steps are chosen among the 50 that it was distilled from.
    "lcm": SchedulerSpec("LCMScheduler", {"original_inference_steps": 50}, max_steps=50),
    "pndm": SchedulerSpec("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": SchedulerSpec("UniPCMultistepScheduler"),
}
"""For models that predict noise or velocity along a diffusion's schedule."""

FLOW: Mapping[str, SchedulerSpec] = {"flow_euler": SchedulerSpec("FlowMatchEulerDiscreteScheduler")}
"""For models trained by flow matching."""

_FLOW_SIGMAS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_MULTISTEP: Mapping[str, SchedulerSpec] = {
    "unipc": SchedulerSpec("UniPCMultistepScheduler", _FLOW_SIGMAS),
    "dpmpp_2m": SchedulerSpec("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", **_FLOW_SIGMAS}),
    "flow_euler": SchedulerSpec("FlowMatchEulerDiscreteScheduler", renamed={"flow_shift": "shift"}),
}
"""For models trained by flow matching whose checkpoints come with a multistep sampler, as Wan's do."""
