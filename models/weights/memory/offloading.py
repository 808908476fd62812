"""Keeps weights in main memory, and brings them to the device while they are computed with."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers import DiffusionPipeline
from diffusers.hooks.group_offloading import (
    _is_group_offload_enabled,
    _maybe_remove_and_reapply_group_offloading,
    apply_group_offloading,
)
from torch import nn

from models.catalogue.families import TEXT_ENCODERS, Family
from models.weights.compiling.denoisers import denoisers


def modules_of(pipeline: DiffusionPipeline) -> dict[str, nn.Module]:
    return {name: each for name, each in pipeline.components.items() if isinstance(each, nn.Module)}


def offload_components(pipeline: DiffusionPipeline, device: str) -> None:
    """Keep at most one of the pipeline's components on the device.

    With diffusers' own hooks, a component leaves when the next of its pipeline is called, and so stays where requests
    at different steps share a device: text encoder and denoiser would both be there.
    """
    pipeline.to("cpu")
    turns = Turns(torch.device(device))
    for module in modules_of(pipeline).values():
        add_hook_to_module(module, _InTurn(turns))


class Turns:
    """Which component is on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._here: nn.Module | None = None

    def bring(self, module: nn.Module) -> None:
        """Bring a component, after the one that is there has left. What has no room leaves none of itself behind."""
        if module is self._here:
            return
        leaving, self._here = self._here, None
        if leaving is not None:
            leaving.to("cpu")
        try:
            module.to(self.device)
        except torch.OutOfMemoryError:
            module.to("cpu")
            raise
        self._here = module


class _InTurn(ModelHook):  # type: ignore[misc]  # of accelerate, which has no types
    """What accelerate and diffusers call before each use of a component, methods like `encode` included."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # By which pipelines know where to make latents.
        self.execution_device = turns.device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._turns.bring(module)
        return send_to_device(args, self._turns.device), send_to_device(kwargs, self._turns.device)


def offload_groups(pipeline: DiffusionPipeline, family: Family, device: str) -> None:
    """Keep denoisers and text encoders in main memory, and bring a denoiser's blocks, and an encoder's layers, one by
    one. What is small, such as an autoencoder, stays on the device.
    """
    onto, modules = torch.device(device), modules_of(pipeline)
    for denoiser in denoisers(pipeline, family):
        group_blocks(denoiser, onto)
    # Text encoders' blocks are nested too deep for diffusers to find them.
    for name in TEXT_ENCODERS:
        if name in modules:
            group_layers(modules[name], onto)
    for module in modules.values():
        if not is_grouped(module):
            module.to(onto)


def offload_layers(pipeline: DiffusionPipeline, device: str) -> None:
    """Keep all components in main memory, and bring their layers one by one.

    By the same hooks as groups, which LoRAs and weights that several layers share survive; those of accelerate, that
    diffusers would use, leave placeholders in a module, which nothing can be added to.
    """
    onto = torch.device(device)
    for module in modules_of(pipeline).values():
        group_layers(module, onto, pinned=False)


def group_blocks(module: nn.Module, device: torch.device, waiting: str = "cpu") -> None:
    """Let a module's blocks come to the device one by one, from where they wait."""
    waits_at = torch.device(waiting)
    apply_group_offloading(module, device, waits_at, "block_level", 1, use_stream=_has_streams(device))


def group_layers(module: nn.Module, device: torch.device, waiting: str = "cpu", *, pinned: bool = True) -> None:
    """Let single layers come. Unless they are `pinned`, as fast copies need it, each is again for every copy."""
    streams = _has_streams(device)
    apply_group_offloading(
        module,
        device,
        torch.device(waiting),
        "leaf_level",
        use_stream=streams,
        low_cpu_mem_usage=streams and not pinned,
    )


def _has_streams(device: torch.device) -> bool:
    """Whether the next group comes while one computes. No more than that: diffusers' `record_stream` is off, with which
    groups come as fast as they can be copied, and pile up before those that compute.
    """
    return device.type == "cuda"


def is_grouped(module: Any) -> bool:
    """Whether `offload_groups` or `offload_layers` moves parts of a module."""
    return isinstance(module, nn.Module) and bool(_is_group_offload_enabled(module))


def is_offloaded(module: Any) -> bool:
    """Whether a module's weights come to the device when it is called."""
    return hasattr(module, "_hf_hook") or is_grouped(module)


def regroup(module: nn.Module) -> None:
    """Let layers that were added to a module, or taken out of it, come and go with its groups, if it has any."""
    _maybe_remove_and_reapply_group_offloading(module)
