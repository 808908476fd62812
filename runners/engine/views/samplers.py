"""Samplers as diffusers builds them, begun at their first step."""

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
"""Of those that requests had last: their `flow_shift` may be any number."""


def make_scheduler(spec: SchedulerSpec, config: Mapping[str, Any]) -> Any:
    """Build a sampler with the model's noise schedule and prediction type."""
    renamed = {own: config[theirs] for theirs, own in spec.renamed.items() if theirs in config}
    return _scheduler_class(spec.class_name).from_config(config, **{**renamed, **spec.overrides})


class SamplerMaker:
    """Makes the samplers of one model's images, each as `make_scheduler` would. That takes ten times as long, most of
    it to find out by inspection what the settings of a class are called.
    """

    def __init__(self) -> None:
        # With their configurations, so that no other can have the same identity meanwhile.
        self._unused: OrderedDict[Hashable, tuple[Mapping[str, Any], Any]] = OrderedDict()

    def make(self, spec: SchedulerSpec, config: Mapping[str, Any]) -> Any:
        """Return a sampler that has made no step; its tensors, which no sampler changes in place, are others' too."""
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
