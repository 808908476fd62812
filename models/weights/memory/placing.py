"""Where the weights of a pipeline are: on its device, on others, or in main memory until they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import DiffusionPipeline

from core.errors import LoadFailed
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory
from models.weights.devices import available_devices
from models.weights.memory.offloading import modules_of, offload_components, offload_groups, offload_layers


def place(
    pipeline: DiffusionPipeline, family: Family, memory: Memory, device: str, elsewhere: Mapping[str, str]
) -> None:
    """Move a pipeline's weights to a device, or have them moved there whenever they are called.

    `elsewhere` has the devices of components that go to another one.
    """
    if memory.offload == "none" or device == "cpu":
        _bring(pipeline, device, elsewhere)
    elif memory.offload == "model":
        offload_components(pipeline, device)
    elif memory.offload == "group":
        offload_groups(pipeline, family, device)
    else:
        offload_layers(pipeline, device)


def devices_of(components: Mapping[str, str], device: str) -> dict[str, str]:
    """Return the devices of an entry's components that are not on the model's device; on a CPU, all are.

    Raises LoadFailed for a device that this machine does not have.
    """
    there = available_devices()
    for name, wanted in components.items() if device != "cpu" else ():
        if wanted not in there:
            raise LoadFailed(f"components.{name}: there is no {wanted} on this machine; it has {', '.join(there)}")
    return {} if device == "cpu" else {name: wanted for name, wanted in components.items() if wanted != device}


def _bring(pipeline: DiffusionPipeline, device: str, elsewhere: Mapping[str, str]) -> None:
    if not elsewhere:
        pipeline.to(device)
        return
    modules = modules_of(pipeline)
    if missing := [name for name in elsewhere if name not in modules]:
        raise LoadFailed(f"components: the pipeline has no {', '.join(missing)}")
    for name, module in modules.items():
        module.to(elsewhere.get(name, device))


def keep_offloaded(pipelines: Mapping[Any, DiffusionPipeline]) -> None:
    """Keep pipelines from moving all weights to main memory after each image, when others still need them."""
    for pipeline in pipelines.values():
        pipeline.__dict__["maybe_free_model_hooks"] = _nothing


def _nothing() -> None:
    pass
