"""Samplers as diffusers builds them, begun at their first step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial, wraps
from typing import Any

import diffusers
import torch

from models.catalogue.families.schedulers import SchedulerSpec


def make_scheduler(spec: SchedulerSpec, config: Mapping[str, Any]) -> Any:
    """Build a sampler with the model's noise schedule and prediction type."""
    renamed = {own: config[theirs] for theirs, own in spec.renamed.items() if theirs in config}
    return _scheduler_class(spec.class_name).from_config(config, **{**renamed, **spec.overrides})


def let_draw(sampler: Any, spec: SchedulerSpec, generator: torch.Generator) -> None:
    """Let a sampler draw its noise from an image's own generator, where its pipeline would leave it to PyTorch's."""
    if spec.draws:
        sampler.step = partial(sampler.step, generator=generator)


@cache
def _scheduler_class(name: str) -> type[Any]:
    """Return the class of diffusers, which looks up where to begin if its pipeline does not say so.

    Flow matching with many steps has equal training times at the start, once they are rounded to integers. Of equal
    ones diffusers takes the second, so as to leave no step out when it begins in the middle. At the start this leaves
    out the first, and multistep samplers then fail at the end, one step past their last.
    """
    plain: type[Any] = getattr(diffusers, name)
    if not hasattr(plain, "index_for_timestep"):
        return plain

    @wraps(plain.index_for_timestep)
    def index_for_timestep(self: Any, timestep: Any, schedule_timesteps: Any = None) -> int:
        times = self.timesteps if schedule_timesteps is None else schedule_timesteps
        return 0 if times[0] == timestep else plain.index_for_timestep(self, timestep, schedule_timesteps)

    return type(name, (plain,), {"index_for_timestep": index_for_timestep})
