"""Per-request views of a loaded pipeline.

A view is a shallow copy of the pipeline with its own scheduler, whose batched modules are replaced by
stand-ins that park the calling greenlet. Weights are shared; everything a pipeline stores on itself while
it runs (`_guidance_scale`, `_num_timesteps`, ...) lands on the view.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline

from models.weights.memory.offloading import is_offloaded


class StandIn:
    """Looks like a pipeline's module, except for its batched methods, which park their caller.

    It forwards attributes because pipelines read many (`config`, `dtype`, `device`), and claims the module's
    class because they find their device through `isinstance(component, torch.nn.Module)`.
    """

    def __init__(self, module: Any, attributes: Mapping[str, Any]) -> None:
        """`attributes` are the batched methods, and the module's `traits`."""
        self._module = module
        self.__dict__.update(attributes)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def modules(self) -> Iterator[Any]:
        """Yield the modules that pipelines search for offloading hooks: only this one if there are none, since SDXL's
        UNet, for example, has 1,900 layers.
        """
        return self._module.modules() if self._is_offloaded else iter([self])

    def to(self, *_args: Any, **_kwargs: Any) -> StandIn:
        """Do nothing: one image's pipeline must not move or cast weights that others share."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)


def traits(module: Any, device: torch.device) -> dict[str, Any]:
    """Return a module's constant properties that are slow to find, by a walk through its layers.

    To pipelines it is on the model's `device`, where their calls come from, wherever it really is.
    """
    return {"dtype": module.dtype, "device": device, "_is_offloaded": is_offloaded(module)}


def make_view(pipeline: DiffusionPipeline, components: Mapping[str, Any], sampler: Any) -> Any:
    """Copy `pipeline` for one image, with `components` and a sampler in place of its own.

    Attributes are set bypassing `DiffusionPipeline.__setattr__`, which would write them into the shared config.
    """
    view = copy.copy(pipeline)
    view.__dict__.update(components)
    view.__dict__["scheduler"] = sampler
    return view
