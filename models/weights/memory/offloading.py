"""Keeps weights in main memory, and moves them to the device while they are in use."""

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

    diffusers' own hooks move a component off when the next one of its pipeline is called. With requests at different
    steps, text encoder and denoiser would then both be on the device.
    """
    pipeline.to("cpu")
    turns = Turns(torch.device(device))
    for module in modules_of(pipeline).values():
        add_hook_to_module(module, _InTurn(turns))


class Turns:
    """Keeps track of the component that is on the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._here: nn.Module | None = None

    def bring(self, module: nn.Module) -> None:
        """Move a component to the device, after moving off the current one. If it does not fit, no part of it stays."""
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
    """The hook that accelerate and diffusers call before each use of a component, including methods like `encode`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        # Tells pipelines where to create latents.
        self.execution_device = turns.device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self._turns.bring(module)
        return send_to_device(args, self._turns.device), send_to_device(kwargs, self._turns.device)


def offload_groups(pipeline: DiffusionPipeline, family: Family, device: str) -> None:
    """Keep denoisers and text encoders in main memory, and move a denoiser's blocks, and an encoder's layers, to the
    device one by one. Small components, such as autoencoders, stay on the device.
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
    """Keep all components in main memory, and move their layers to the device one by one.

    This uses the same hooks as groups, which work with LoRAs and shared weights. accelerate's hooks, which diffusers
    would use, leave placeholders in a module, to which nothing can be added.
    """
    onto = torch.device(device)
    for module in modules_of(pipeline).values():
        group_layers(module, onto, pinned=False)


def group_blocks(module: nn.Module, device: torch.device, waiting: str = "cpu") -> None:
    """Let a module's blocks be moved to the device one by one from `waiting`, the device where they are kept."""
    waits_at = torch.device(waiting)
    apply_group_offloading(module, device, waits_at, "block_level", 1, use_stream=_has_streams(device))


def group_layers(module: nn.Module, device: torch.device, waiting: str = "cpu", *, pinned: bool = True) -> None:
    """Do the same for single layers. Unless `pinned`, each is pinned again for every copy, which is slower."""
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
    """Whether the next group is copied while one computes.

    Only the next: diffusers' `record_stream` stays off, since it lets copied groups pile up ahead of the computation.
    """
    return device.type == "cuda"


def is_grouped(module: Any) -> bool:
    """Whether `offload_groups` or `offload_layers` moves parts of a module."""
    return isinstance(module, nn.Module) and bool(_is_group_offload_enabled(module))


def is_offloaded(module: Any) -> bool:
    """Whether a module's weights are moved to the device when it is called."""
    return hasattr(module, "_hf_hook") or is_grouped(module)


def regroup(module: nn.Module) -> None:
    """Update a module's groups, if it has any, after layers were added to or removed from it."""
    _maybe_remove_and_reapply_group_offloading(module)
