"""Samplers: diffusers classes with their configuration, under the names that people type.

A sampler combined with a sigma schedule that its class takes is a sampler too: `dpmpp_2m` and `karras` make
`dpmpp_2m_karras`. These combinations are generated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.validation import did_you_mean

SIGMAS = ("karras", "exponential", "beta")
SGM_UNIFORM = "sgm_uniform"
SCHEDULES = (*SIGMAS, SGM_UNIFORM)
"""How steps are spread: by sigmas (`use_karras_sigmas` and its like), or evenly from pure noise on (`trailing`)."""

CLASS_SCHEDULES: Mapping[str, tuple[str, ...]] = {
    "DDIMScheduler": (SGM_UNIFORM,),
    "DDPMScheduler": (SGM_UNIFORM,),
    "DEISMultistepScheduler": SCHEDULES,
    "DPMSolverMultistepScheduler": SCHEDULES,
    "DPMSolverSinglestepScheduler": SIGMAS,
    "EulerAncestralDiscreteScheduler": (SGM_UNIFORM,),
    "EulerDiscreteScheduler": SCHEDULES,
    "FlowMatchEulerDiscreteScheduler": SIGMAS,
    "HeunDiscreteScheduler": SCHEDULES,
    "KDPM2AncestralDiscreteScheduler": SCHEDULES,
    "KDPM2DiscreteScheduler": SCHEDULES,
    # These two choose among the timesteps that a model was distilled for, however those are spaced.
    "LCMScheduler": (),
    "TCDScheduler": (),
    "LMSDiscreteScheduler": SCHEDULES,
    "PNDMScheduler": (SGM_UNIFORM,),
    "SASolverScheduler": SCHEDULES,
    "UniPCMultistepScheduler": SCHEDULES,
}
"""The schedules that each class takes, going by its signature; classes that only their own pipelines use take none."""
EXPLICIT: Mapping[str, frozenset[str]] = {
    "DDPMScheduler": frozenset({"timesteps"}),
    "DPMSolverMultistepScheduler": frozenset({"timesteps"}),
    "DPMSolverSinglestepScheduler": frozenset({"timesteps"}),
    "EulerDiscreteScheduler": frozenset({"sigmas", "timesteps"}),
    "FlowMatchEulerDiscreteScheduler": frozenset({"sigmas", "timesteps"}),
    "HeunDiscreteScheduler": frozenset({"timesteps"}),
    "LCMScheduler": frozenset({"timesteps"}),
    "TCDScheduler": frozenset({"timesteps"}),
}
"""The classes that accept explicit steps, and in which form."""
_WITH_ETA = {"DDIMScheduler", "TCDScheduler"}
_SPREAD = {"timestep_spacing", "use_flow_sigmas"}
"""Overrides that fix a sampler's schedule: with `use_*_sigmas`, diffusers would replace it by one for diffusion."""


@dataclass(frozen=True)
class SchedulerSpec:
    class_name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The class's own names of settings, by those in the checkpoint's configuration."""
    max_steps: int | None = None
    """The sampler's own limit, if it has one."""
    draws: bool = False
    """Whether each step draws noise, from a generator that the pipelines which have it do not pass on."""
    labels: tuple[str, ...] = ()
    """Its other names; case and punctuation do not matter."""

    @property
    def schedules(self) -> tuple[str, ...]:
        """The sigma schedules that can be named with it."""
        return () if self.overrides.keys() & _SPREAD else CLASS_SCHEDULES.get(self.class_name, ())

    @property
    def explicit(self) -> frozenset[str]:
        """The forms in which it accepts explicit steps: `sigmas`, `timesteps`."""
        return EXPLICIT.get(self.class_name, frozenset())

    @property
    def takes_eta(self) -> bool:
        return self.class_name in _WITH_ETA

    @property
    def shift(self) -> str | None:
        """The setting that shifts a flow's steps to more noise; None for samplers of diffusion."""
        if self.class_name == "FlowMatchEulerDiscreteScheduler":
            return "shift"
        return "flow_shift" if "use_flow_sigmas" in self.overrides else None

    def spread(self, schedule: str | None) -> SchedulerSpec:
        """Return the sampler with one of its schedules, or with none, overriding the checkpoint's own."""
        sigmas = {f"use_{name}_sigmas": name == schedule for name in SIGMAS if name in self.schedules}
        spacing = {"timestep_spacing": "trailing"} if schedule == SGM_UNIFORM else {}
        return replace(self, overrides={**self.overrides, **sigmas, **spacing})

    def shifted(self, shift: float) -> SchedulerSpec:
        """Return the sampler with a fixed shift, in place of the checkpoint's or of one that depends on the size."""
        assert self.shift is not None, f"{self.class_name} follows no flow"
        fixed = {"use_dynamic_shifting": False} if self.shift == "shift" else {}
        return replace(self, overrides={**self.overrides, self.shift: shift, **fixed})


class Samplers(Mapping[str, SchedulerSpec]):
    """A family's samplers, by id: each one by itself, and with each of its schedules."""

    def __init__(self, bases: Mapping[str, SchedulerSpec]) -> None:
        self.bases = bases
        """Without schedules."""
        self._specs = dict(bases)
        self._ids: dict[str, str] = {_key(name): name for name in bases}
        for name, spec in bases.items():
            self._add(name, spec)

    def _add(self, name: str, spec: SchedulerSpec) -> None:
        labels = (name, *spec.labels, spec.class_name, spec.class_name.removesuffix("Scheduler"))
        for schedule in spec.schedules:
            self._specs[f"{name}_{schedule}"] = spec.spread(schedule)
        for label in labels:
            # The first of several samplers of one class also gets the name of the class.
            self._ids.setdefault(_key(label), name)
            for schedule in spec.schedules:
                self._ids.setdefault(_key(label + schedule), f"{name}_{schedule}")

    def __getitem__(self, name: str) -> SchedulerSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def schedules(self) -> Mapping[str, tuple[str, ...]]:
        """The sigma schedules of each sampler, in order of name."""
        return {name: self.bases[name].schedules for name in sorted(self.bases)}

    def find(self, name: str) -> str | None:
        """Return the id for any of a sampler's names: `dpmpp_2m_karras` for `DPM++ 2M Karras`."""
        return self._ids.get(_key(name))

    def mistake(self, name: str) -> str:
        """Return what is wrong with a name that is no id."""
        for schedule in SCHEDULES:
            base = self._ids.get(_key(name).removesuffix(_key(schedule)))
            if base is not None:
                return f"{base} does not take {schedule}; it takes: {', '.join(self[base].schedules) or 'no schedule'}"
        return f"{name!r} is unknown; known: {', '.join(sorted(self.bases))}{did_you_mean(name, self)}"


def _key(name: str) -> str:
    """Reduce a name to what all spellings share; in an address, the plus of `DPM++` arrives as a space."""
    return re.sub(r"[^a-z0-9]", "", name.lower()).replace("dpmpp", "dpm").removesuffix("scheduler")
