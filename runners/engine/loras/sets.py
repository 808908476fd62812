"""Keeps LoRAs injected in a model's modules, and turns each request's set of them into adapters.

Requests with different sets and scales share passes (`loras.hooks`). LoRAs that cannot be mixed run in passes of
their own: see `Adapter.mixes`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, count
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import nn

from core.errors import LoadFailed, OutOfMemory
from core.generation.request import Lora
from models.catalogue.addons import LoraSpec
from models.weights.addons.loras import eject, inject, lora_file, lora_modules
from models.weights.devices import free_memory
from runners.engine.loras.hooks import NONE, Adapter, LoraHooks

LoraSet = tuple[Lora, ...]


class LoraSets:
    """The resident LoRAs of one model, and the effect of sets of them on each module.

    All but `prepare` belongs to the engine's thread. `in_use` has the sets of the requests in progress.
    """

    def __init__(self, pipeline: DiffusionPipeline, specs: Mapping[str, LoraSpec], most: int) -> None:
        """`most` LoRAs are resident at a time."""
        self._pipeline = pipeline
        self._specs = specs
        self._most = most
        self._modules = {name: LoraHooks(m) for name, m in lora_modules(pipeline).items()}
        # Specs as of when the files were read, since the operator may remove them.
        self._used: dict[str, LoraSpec] = {}
        self._files: dict[str, Path] = {}
        # LoRA -> peft adapter, in order of last use. Each injection gets a new name, so that outputs
        # cached under an earlier injection's name are not reused.
        self._resident: OrderedDict[str, str] = OrderedDict()
        self._numbers = count()

    def prepare(self, loras: LoraSet) -> None:
        """Fetch and check files, so that `load` need not. Blocks, on any thread. Raises LoadFailed."""
        for lora in loras:
            if lora.name not in self._resident and lora.name not in self._files:
                self._used[lora.name] = self._spec(lora.name)
                self._files[lora.name] = lora_file(lora.name, self._used[lora.name])

    def _spec(self, name: str) -> LoraSpec:
        found = self._specs.get(name)
        if found is None:
            raise LoadFailed(
                f"the LoRA {name!r} is not there for this model's runner, whose JUBAKO_LORA_FOLDER must be the server's"
            )
        return found

    def fits(self, loras: LoraSet, in_use: Collection[LoraSet]) -> bool:
        """Whether a set can be resident beside those in use."""
        return not loras or len(_names(loras, *in_use)) <= self._most or not any(in_use)

    def load(self, loras: LoraSet, in_use: Collection[LoraSet]) -> None:
        """Make a set ready for use. Raises LoadFailed and OutOfMemory; those in use then stay as they were."""
        # Before anything is evicted, since a file may be missing.
        self.prepare(loras)
        needed = _names(loras, *in_use)
        excess = len(_names(loras) | set(self._resident)) - self._most
        self._evict(self._idle(needed)[: max(excess, 0)])
        for lora in loras:
            self._add(lora.name, needed)
            self._resident.move_to_end(lora.name)

    def adapter(self, component: str, loras: LoraSet) -> Adapter:
        """Return the effect of a loaded set on one component."""
        module = self._modules.get(component)
        if module is None:
            return NONE
        return module.adapter({self._resident[each.name]: each.scale * self._used[each.name].scale for each in loras})

    def applied(self, component: str, module: nn.Module, adapters: Sequence[Adapter]) -> AbstractContextManager[None]:
        """Return a context in which `module`, which is this component or shares its weights, runs with one adapter per
        sample.
        """
        hooks = self._modules.get(component)
        return nullcontext() if hooks is None or not self._resident else hooks.under(module, adapters)

    def close(self) -> None:
        """Restore the modules' state before the first LoRA."""
        self._evict(list(self._resident))

    def _add(self, name: str, needed: Collection[str]) -> None:
        if name in self._resident:
            return
        adapter = f"lora{next(self._numbers)}"
        # Forgotten in case this fails, to be read again: the operator may replace the file.
        file = self._files.pop(name)
        if not self._inject(name, file, adapter):
            self._evict(self._idle(needed))
            free_memory()
            if not self._inject(name, file, adapter):
                raise OutOfMemory(f"the LoRA {name!r} does not fit into the device's memory")
        for module in self._modules.values():
            module.add(adapter)
        self._resident[name] = adapter

    def _inject(self, name: str, file: Path, adapter: str) -> bool:
        """Return whether there was memory for it. Returning frees a failed attempt, which its traceback keeps alive."""
        try:
            inject(self._pipeline, name, file, adapter, self._used[name].component)
        except torch.OutOfMemoryError:
            return False
        return True

    def _idle(self, needed: Collection[str]) -> list[str]:
        """The other resident LoRAs, least recently used first."""
        return [name for name in self._resident if name not in needed]

    def _evict(self, names: Iterable[str]) -> None:
        for name in names:
            adapter = self._resident.pop(name)
            for module in self._modules.values():
                module.remove(adapter)
            eject(self._pipeline, adapter)


def _names(*sets: LoraSet) -> set[str]:
    return {lora.name for lora in chain(*sets)}
