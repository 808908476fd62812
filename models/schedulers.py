"""Samplers by the names that people use, as diffusers classes with their configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SchedulerSpec:
    class_name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


# DDIM clips to the range of pixels unless told that it works on latents.
DIFFUSION: Mapping[str, SchedulerSpec] = {
    "ddim": SchedulerSpec("DDIMScheduler", {"clip_sample": False}),
    "dpmpp_2m": SchedulerSpec("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": SchedulerSpec("EulerDiscreteScheduler"),
    "euler_a": SchedulerSpec("EulerAncestralDiscreteScheduler"),
    "lcm": SchedulerSpec("LCMScheduler"),
    "pndm": SchedulerSpec("PNDMScheduler", {"skip_prk_steps": True}),
    "unipc": SchedulerSpec("UniPCMultistepScheduler"),
}
"""For models that predict noise or velocity along a diffusion's schedule."""

FLOW: Mapping[str, SchedulerSpec] = {"flow_euler": SchedulerSpec("FlowMatchEulerDiscreteScheduler")}
"""For models trained by flow matching."""
