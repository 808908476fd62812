"""Runs a module with each sample's own LoRAs and scales, by hooks on its peft layers.

peft's layers give all samples the same scale, and apply their LoRAs one by one. So where LoRAs only add products of
matrices, the layers run without them, and each sample's products are added here (`loras.stacks`). A set of LoRAs is
then only names and scales, and takes no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from models.weights.addons.loras import holds, peft_layers
from models.weights.compiling.denoisers import uncompiled
from models.weights.memory.offloading import is_grouped
from runners.engine.loras.stacks import Rows, Stack


@dataclass(frozen=True)
class Adapter:
    """The effect of one set of LoRAs on one module; samples with equal ones are computed alike."""

    parts: tuple[tuple[str, float], ...]
    """The peft adapters of its LoRAs that change this module, and their scales."""
    mixes: bool
    """Whether samples with other adapters may share its passes: not with DoRA and the like, nor in a module that calls
    a changed layer with anything but one row per sample."""


NONE = Adapter((), mixes=True)
"""The unchanged module."""


class NotBySample(Exception):
    """A layer with LoRAs was given anything but one row per sample, so its rows cannot be assigned to samples."""


class LoraHooks:
    """The hooks of one module."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # Offloaded blocks take their LoRAs along, but stacks would stay on the device.
        self._stacks_are_kept = not is_grouped(module)
        self._batch: Sequence[Adapter] = ()
        self._distinct: Sequence[Adapter] = (NONE,)
        # The peft adapters of the pass.
        self._parts: Sequence[str] = ()
        # Of each peft adapter in a mixed pass: its rows, and their scales, (n,) each.
        self._rows: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        # Each sample's places in the stacks in a mixed pass, one LoRA of each sample at a time.
        self._rounds: Sequence[Rows] | None = None
        self._stacks: WeakKeyDictionary[BaseTunerLayer, Stack] = WeakKeyDictionary()
        # For each peft adapter that changes this module: whether it only adds products.
        self._plain: dict[str, bool] = {}
        # For each of them: whether samples with and without it may share passes.
        self._mixes: dict[str, bool] = {}
        self._hooked: WeakSet[BaseTunerLayer] = WeakSet()
        self._not_by_sample: WeakSet[BaseTunerLayer] = WeakSet()
        self._wrapped = 0
        # For each other module over the same weights: how many layers were wrapped when it last got them.
        self._shared: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def add(self, part: str) -> None:
        """Hook the layers that this peft adapter has been injected into."""
        layers = [layer for layer in peft_layers(self._module) if holds(layer, part)]
        for layer in layers:
            if layer not in self._hooked:
                layer.register_forward_pre_hook(self._before)
                layer.register_forward_hook(self._after)
                self._hooked.add(layer)
                self._wrapped += 1
        if layers:
            self._stacks.clear()
            self._plain[part] = all(_is_plain(layer, part) for layer in layers)
            self._mixes[part] = self._plain[part] and self._not_by_sample.isdisjoint(layers)

    def remove(self, part: str) -> None:
        """Forget a peft adapter that is about to be ejected."""
        self._mixes.pop(part, None)
        if self._plain.pop(part, None) is not None:
            self._stacks.clear()

    def adapter(self, parts: Mapping[str, float]) -> Adapter:
        """Return the effect of peft adapters with these scales on this module."""
        held = tuple((part, scale) for part, scale in parts.items() if part in self._mixes)
        return Adapter(held, mixes=all(self._mixes[part] for part, _ in held))

    @contextmanager
    def under(self, module: nn.Module, batch: Sequence[Adapter]) -> Iterator[None]:
        """Run `module`, which is this one or has all of its parameters, with one adapter per sample."""
        if module is not self._module:
            self._share_layers(module)
        self._batch, self._distinct = batch, tuple(dict.fromkeys(batch))
        self._parts = tuple(dict.fromkeys(part for adapter in self._distinct for part, _ in adapter.parts))
        try:
            # A compiled module would be recompiled for each mixture of adapters.
            with nullcontext() if self._distinct == (NONE,) else uncompiled():
                yield
        finally:
            self._batch, self._distinct, self._parts = (), (NONE,), ()
            self._rows.clear()
            self._rounds = None

    def _share_layers(self, module: nn.Module) -> None:
        """Replace layers of a module over the same weights by this one's peft layers, which wrap them."""
        if self._shared.get(module) == self._wrapped:
            return
        for path, layer in self._module.named_modules():
            if isinstance(layer, BaseTunerLayer):
                parent, _, name = path.rpartition(".")
                setattr(module.get_submodule(parent), name, layer)
        self._shared[module] = self._wrapped

    def _before(self, layer: Any, args: Any) -> None:
        held = self._held_by(layer)
        if len(self._distinct) == 1:
            _activate(layer, NONE if self._has_all(layer, held) else self._distinct[0])
            return
        _activate(layer, NONE)
        if held and len(args[0]) != len(self._batch):
            self._not_by_sample.add(layer)
            self._mixes |= dict.fromkeys(held, False)
            raise NotBySample

    def _after(self, layer: Any, args: Any, output: torch.Tensor) -> None:
        """Apply its own LoRAs to each sample, as peft's layers would to all samples."""
        if not (held := self._held_by(layer)):
            return
        stack = self._stack(layer)
        if len(self._distinct) == 1:
            if self._has_all(layer, held):
                for part, scale in self._distinct[0].parts:
                    if part in stack:
                        stack.add_one(part, scale, args[0], output)
            return
        if any(part in stack for part in held):
            for rows in self._rounds_on(output.device):
                stack.add_rows(rows, args[0], output)
        for part in held:
            if part not in stack:
                self._add_part(layer, part, args[0], output)

    def _has_all(self, layer: Any, held: Sequence[str]) -> bool:
        """Whether all adapters that change the layer in this pass are in its stack."""
        return all(part in self._stack(layer) for part in held)

    def _stack(self, layer: BaseTunerLayer) -> Stack:
        if layer not in self._stacks:
            self._stacks[layer] = Stack(layer, self._places())
        return self._stacks[layer]

    def _places(self) -> dict[str, int]:
        """The place of each peft adapter in every stack."""
        if not self._stacks_are_kept:
            return {}
        return {part: place for place, part in enumerate(part for part, plain in self._plain.items() if plain)}

    def _rounds_on(self, device: torch.device) -> Sequence[Rows]:
        if self._rounds is None:
            places = self._places()
            # The place after the last one has zeros, for samples without a LoRA.
            places[""] = len(places)
            self._rounds = [
                Rows(
                    torch.tensor([places[part] for part, _ in of_rows], device=device),
                    torch.tensor([scale for _, scale in of_rows], device=device).view(-1, 1, 1),
                )
                for of_rows in zip_longest(*(adapter.parts for adapter in self._batch), fillvalue=("", 0.0))
            ]
        return self._rounds

    def _add_part(self, layer: Any, part: str, given: torch.Tensor, output: torch.Tensor) -> None:
        """Apply an adapter that is not a pair of matrices to its own samples: a convolution's LoRA, a LoHa, a bias."""
        rows, scales = self._rows_of(part, output.device)
        down, up = layer.lora_A[part], layer.lora_B[part]
        layer.set_scale(part, 1.0)
        scales = scales.view(-1, *[1] * (output.ndim - 1)) * layer.scaling[part]
        output[rows] += (up(down(given[rows].to(down.weight.dtype))) * scales).to(output.dtype)

    def _held_by(self, layer: BaseTunerLayer) -> list[str]:
        """The peft adapters of this pass that change the layer."""
        return [part for part in self._parts if holds(layer, part)]

    def _rows_of(self, part: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        if part not in self._rows:
            scale_of = {
                row: scale for row, adapter in enumerate(self._batch) for name, scale in adapter.parts if name == part
            }
            rows = torch.tensor(list(scale_of), device=device)
            self._rows[part] = rows, torch.tensor(list(scale_of.values()), device=device)
        return self._rows[part]


def _is_plain(layer: BaseTunerLayer, part: str) -> bool:
    """Whether all that the adapter does to the layer is to add the output of two matrices or two convolutions."""
    return (
        isinstance(layer, LoraLayer)
        and isinstance(layer.get_base_layer(), (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and part in layer.lora_A
        and part not in layer.lora_variant
    )


def _activate(layer: Any, adapter: Adapter) -> None:
    """Apply one adapter to all samples of the layer."""
    # peft's `set_adapter` would also set `requires_grad` on every parameter of every adapter, each time.
    layer._active_adapter = [part for part, _ in adapter.parts]
    for part, scale in adapter.parts:
        layer.set_scale(part, scale)
