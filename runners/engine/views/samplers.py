"""Makes samplers as diffusers builds them, positioned at their first step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from copy import copy
from functools import cache, partial, wraps
from typing import Any

import diffusers
import torch

from models.catalogue.families.schedulers import SchedulerSpec

KEPT_SAMPLERS = 32
"""The most samplers to keep, the most recent ones, since `flow_shift` may be any number."""


def make_scheduler(spec: SchedulerSpec, config: Mapping[str, Any]) -> Any:
    """Build a sampler with the model's noise schedule and prediction type."""
    renamed = {own: config[theirs] for theirs, own in spec.renamed.items() if theirs in config}
    return _scheduler_class(spec.class_name).from_config(config, **{**renamed, **spec.overrides})


class SamplerMaker:
    """Makes the samplers of one model's images, equal to those of `make_scheduler`. That one takes ten times as long,
    mostly to find out by inspection what the settings of a class are called.
    """

    def __init__(self) -> None:
        # The configurations are kept too, so that no other object can get the same `id`.
        self._unused: OrderedDict[Hashable, tuple[Mapping[str, Any], Any]] = OrderedDict()

    def make(self, spec: SchedulerSpec, config: Mapping[str, Any]) -> Any:
        """Return a fresh sampler; it shares its tensors with others, since no sampler changes them in place."""
        key = (id(config), repr(spec))
        if key not in self._unused:
            self._unused[key] = config, make_scheduler(spec, config)
        self._unused.move_to_end(key)
        if len(self._unused) > KEPT_SAMPLERS:
            self._unused.popitem(last=False)
        made = copy(self._unused[key][1])
        lists = {name: copy(value) for name, value in vars(made).items() if type(value) in (list, dict)}
        vars(made).update(lists)
        return made


def let_draw(sampler: Any, spec: SchedulerSpec, generator: torch.Generator) -> None:
    """Make a sampler draw noise from the image's own generator, if its pipeline would use PyTorch's default one."""
    if spec.draws:
        sampler.step = partial(sampler.step, generator=generator)


@cache
def _scheduler_class(name: str) -> type[Any]:
    """Return a class of diffusers, corrected to begin at the first step where it looks up the step by its timestep.

    Flow matching with many steps has equal timesteps at the start, once they are rounded to integers. Of equal ones
    diffusers takes the second, so that no step is skipped when beginning in the middle. At the start, this skips the
    first step, and multistep samplers then fail at the end, one step past their last.
    """
    plain: type[Any] = getattr(diffusers, name)
    if not hasattr(plain, "index_for_timestep"):
        return plain

    @wraps(plain.index_for_timestep)
    def index_for_timestep(self: Any, timestep: Any, schedule_timesteps: Any = None) -> int:
        times = self.timesteps if schedule_timesteps is None else schedule_timesteps
        return 0 if times[0] == timestep else plain.index_for_timestep(self, timestep, schedule_timesteps)

    return type(name, (plain,), {"index_for_timestep": index_for_timestep})
