"""A module whose samples run under adapters of their own: sets of LoRAs as peft adapters, told to its layers by hooks.

peft's layers take the name of one adapter per sample (`adapter_names`). A set of one LoRA shares its matrices and has a
scale of its own; a set of several has theirs side by side along the rank, which adds up to the same product.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from models.loras import holds, peft_layers


@dataclass(eq=False)
class Adapter:
    """What one set of LoRAs is in one module."""

    name: str
    """Of the peft adapter that acts as the whole set."""
    parts: Mapping[str, float]
    """The peft adapters of its LoRAs, and their scales."""
    mixes: bool
    """Whether samples under other adapters may share its passes: not with DoRA and its like, and not in a module that
    calls a changed layer with something else than one row per sample."""


NONE = Adapter("__base__", {}, mixes=True)
"""The module as it is; peft's own name for it."""


class NotBySample(Exception):
    """A layer under LoRAs was given something else than one row per sample, so samples cannot be told apart."""


class LoraHooks:
    """Runs one module's samples under adapters, by hooks on its peft layers."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._batch: Sequence[Adapter] = ()
        self._distinct: Sequence[Adapter] = (NONE,)
        self._hooked: WeakSet[BaseTunerLayer] = WeakSet()
        self._not_by_sample: WeakSet[BaseTunerLayer] = WeakSet()
        self._wrapped = 0
        # For each other module, how many layers had been wrapped when it last got them.
        self._shared: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    def add(self, name: str, parts: Mapping[str, float]) -> Adapter:
        """Make the adapter of a set of LoRAs that are injected already; NONE when they leave this module alone."""
        layers = [layer for layer in peft_layers(self._module) if any(holds(layer, part) for part in parts)]
        if not layers:
            return NONE
        self._hook(layers)
        mixes = self._not_by_sample.isdisjoint(layers) and all(_is_plain(layer, parts) for layer in layers)
        if mixes:
            for layer in layers:
                _join(layer, name, parts)
        return Adapter(name, parts, mixes)

    def remove(self, adapter: Adapter) -> None:
        for layer in peft_layers(self._module):
            layer.set_adapter([])
            layer.delete_adapter(adapter.name)

    @contextmanager
    def under(self, module: nn.Module, batch: Sequence[Adapter]) -> Iterator[None]:
        """Run `module`, which is this one or has all of its parameters, with one adapter per sample."""
        if module is not self._module:
            self._share_layers(module)
        self._batch, self._distinct = batch, tuple(dict.fromkeys(batch))
        # A compiled module would be compiled anew for each mixture of adapters.
        eager = module._compiled_call_impl is not None and self._distinct != (NONE,)
        try:
            with torch.compiler.set_stance("force_eager") if eager else nullcontext():
                yield
        finally:
            self._batch, self._distinct = (), (NONE,)

    def _share_layers(self, module: nn.Module) -> None:
        """Put this module's peft layers in the place of the plain ones that they wrap."""
        if self._shared.get(module) == self._wrapped:
            return
        for path, layer in self._module.named_modules():
            if isinstance(layer, BaseTunerLayer):
                parent, _, name = path.rpartition(".")
                setattr(module.get_submodule(parent), name, layer)
        self._shared[module] = self._wrapped

    def _hook(self, layers: Sequence[BaseTunerLayer]) -> None:
        for layer in layers:
            if layer not in self._hooked:
                layer.register_forward_pre_hook(self._before, with_kwargs=True)
                self._hooked.add(layer)
                self._wrapped += 1

    def _before(self, layer: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Tell a layer the adapters of the samples that it is about to see."""
        changing = [adapter for adapter in self._distinct if holds(layer, adapter.name)]
        if len(self._distinct) == 1 or not changing:
            _activate(layer, self._distinct[0] if len(self._distinct) == 1 else NONE)
            return None
        if len(args[0]) != len(self._batch):
            self._not_by_sample.add(layer)
            for adapter in changing:
                adapter.mixes = False
            raise NotBySample
        return args, {**kwargs, "adapter_names": [adapter.name for adapter in self._batch]}


def _is_plain(layer: BaseTunerLayer, parts: Mapping[str, float]) -> bool:
    """Whether all that these adapters add to the layer is a product of two matrices, or of two convolutions."""
    held = [part for part in parts if holds(layer, part)]
    return isinstance(layer, LoraLayer) and all(
        part in layer.lora_A
        and part not in layer.lora_variant
        and layer.lora_B[part].bias is None
        and getattr(layer.lora_A[part], "groups", 1) == 1
        for part in held
    )


def _join(layer: Any, name: str, parts: Mapping[str, float]) -> None:
    """Give the layer one adapter that acts as all of these."""
    held = [part for part in parts if part in layer.lora_A]
    for part in held:
        layer.set_scale(part, parts[part])
    first = held[0]
    if len(held) == 1:
        layer.lora_A[name], layer.lora_B[name] = layer.lora_A[first], layer.lora_B[first]
        layer.scaling[name] = layer.scaling[first]
    else:
        down = torch.cat([layer.lora_A[part].weight for part in held])
        up = torch.cat([layer.lora_B[part].weight * layer.scaling[part] for part in held], dim=1)
        layer.lora_A[name] = _with_weight(layer.lora_A[first], down)
        layer.lora_B[name] = _with_weight(layer.lora_B[first], up)
        layer.scaling[name] = 1.0
    layer.lora_dropout[name] = nn.Identity()


def _with_weight(module: nn.Module, weight: torch.Tensor) -> nn.Module:
    joined = copy.deepcopy(module)
    joined.weight = nn.Parameter(weight, requires_grad=False)
    return joined


def _activate(layer: Any, adapter: Adapter) -> None:
    """Let one adapter act on all that the layer sees."""
    joined = adapter.parts and holds(layer, adapter.name)
    # peft's `set_adapter` would also switch gradients on every parameter of every adapter, each time.
    layer._active_adapter = [adapter.name] if joined else list(adapter.parts)
    if not joined:
        for part, scale in adapter.parts.items():
            layer.set_scale(part, scale)
