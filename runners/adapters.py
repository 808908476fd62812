"""Which LoRAs are injected in the modules of a model, and under which of them each sample of a forward pass runs.

Requests with different LoRAs, scales and sets of them share one pass: every set of (LoRA, scale) is one peft adapter,
and peft's layers take the name of one adapter per sample (`adapter_names`). A set of one LoRA shares its matrices and
has a scale of its own; a set of several has theirs side by side along the rank, which adds up to the same product.
What peft cannot mix runs in passes of its own: see `Adapter.mixes`.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from diffusers import DiffusionPipeline
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from models.entries import LoraSpec
from models.loras import eject, holds, inject, lora_file, lora_modules, peft_layers
from models.request import Lora

if TYPE_CHECKING:
    from runners.calls import Call

LoraSet = tuple[Lora, ...]
SETS_PER_LORA = 4
"""Sets kept for each LoRA that may be resident: callers choose scales freely, and each is another set."""


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


class AdaptedModule:
    """Runs one module's samples under adapters, by hooks on its peft layers."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._batch: Sequence[Adapter] = ()
        self._distinct: Sequence[Adapter] = (NONE,)
        self._hooked: WeakSet[BaseTunerLayer] = WeakSet()
        self._not_by_sample: WeakSet[BaseTunerLayer] = WeakSet()
        # How many layers had been wrapped when another module last got them.
        self._wrapped = 0
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
        try:
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


class Adapters:
    """The LoRAs of one model: which are resident, and what each set of them is in each module.

    All but `prepare` belongs to the engine's thread. `in_use` are the sets of the requests that are being drawn.
    """

    def __init__(self, pipeline: DiffusionPipeline, specs: Mapping[str, LoraSpec], most: int) -> None:
        """`most` LoRAs are resident at a time."""
        self._pipeline = pipeline
        self._specs = specs
        self._most = most
        self._modules = {name: AdaptedModule(m) for name, m in lora_modules(pipeline).items()} if specs else {}
        self._files: dict[str, Path] = {}
        # Both in order of last use.
        self._resident: OrderedDict[str, str] = OrderedDict()  # LoRA -> peft adapter
        self._sets: OrderedDict[LoraSet, dict[str, Adapter]] = OrderedDict()
        self._numbers = count()

    def prepare(self, loras: LoraSet) -> None:
        """Fetch and check files, so that `load` need not. Blocks, on any thread. Raises LoadFailed."""
        for lora in loras:
            if lora.name not in self._resident and lora.name not in self._files:
                self._files[lora.name] = lora_file(lora.name, self._specs[lora.name])

    def fits(self, loras: LoraSet, in_use: Collection[LoraSet]) -> bool:
        """Whether these can be resident beside those in use."""
        return not loras or len(_names(loras, *in_use)) <= self._most or not any(in_use)

    def load(self, loras: LoraSet, in_use: Collection[LoraSet]) -> None:
        """Make a set ready for use. Raises LoadFailed; what is resident then stays as it was."""
        if not loras:
            return
        if loras not in self._sets:
            self._make_room(loras, in_use)
            for lora in loras:
                self._inject(lora.name)
            parts = {self._resident[lora.name]: lora.scale * self._specs[lora.name].scale for lora in loras}
            name = f"set{next(self._numbers)}"
            self._sets[loras] = {component: module.add(name, parts) for component, module in self._modules.items()}
        self._sets.move_to_end(loras)
        for lora in loras:
            self._resident.move_to_end(lora.name)

    def of(self, call: Call, loras: LoraSet) -> Adapter:
        """What a loaded set is in the module that is called."""
        return self._sets[loras].get(call.part.component, NONE) if loras else NONE

    @contextmanager
    def applied(self, calls: Sequence[Call]) -> Iterator[None]:
        """Run the pass of these calls with the adapters of each."""
        first = calls[0]
        module = self._modules.get(first.part.component)
        if module is None or not self._resident:
            yield
            return
        batch = [call.adapter for call in calls for _ in range(call.samples)]
        with module.under(first.operation.module, batch):
            yield

    def close(self) -> None:
        """Leave the modules as they were before the first LoRA."""
        self._sets.clear()
        while self._resident:
            eject(self._pipeline, self._resident.popitem()[1])

    def _inject(self, name: str) -> None:
        if name in self._resident:
            return
        self.prepare((Lora(name=name),))
        adapter = f"lora{next(self._numbers)}"
        # Read anew if it fails: the operator may mend the file.
        inject(self._pipeline, name, self._files.pop(name), adapter)
        self._resident[name] = adapter

    def _make_room(self, loras: LoraSet, in_use: Collection[LoraSet]) -> None:
        needed = _names(loras, *in_use)
        idle = [name for name in self._resident if name not in needed]
        excess = len(_names(loras) | set(self._resident)) - self._most
        for name in idle[: max(excess, 0)]:
            self._drop_sets([kept for kept in self._sets if name in _names(kept)])
            eject(self._pipeline, self._resident.pop(name))
        spare = [kept for kept in self._sets if kept not in in_use]
        self._drop_sets(spare[: max(len(self._sets) + 1 - SETS_PER_LORA * self._most, 0)])

    def _drop_sets(self, sets: Sequence[LoraSet]) -> None:
        for dropped in sets:
            for component, adapter in self._sets.pop(dropped).items():
                if adapter is not NONE:
                    self._modules[component].remove(adapter)


def _names(*sets: LoraSet) -> set[str]:
    return {lora.name for lora in chain(*sets)}
