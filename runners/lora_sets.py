"""Which LoRAs are injected in the modules of a model, and what each set of them is there.

Requests with different LoRAs, scales and sets of them share passes, as `runners.lora_hooks` knows how. What cannot be
mixed runs in passes of its own: see `Adapter.mixes`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from diffusers import DiffusionPipeline

from models.entries import LoraSpec
from models.loras import eject, inject, lora_file, lora_modules
from models.request import Lora
from runners.lora_hooks import NONE, Adapter, LoraHooks

if TYPE_CHECKING:
    from runners.calls import Call

LoraSet = tuple[Lora, ...]
SETS_PER_LORA = 4
"""Sets kept for each LoRA that may be resident: callers choose scales freely, and each is another set."""


class LoraSets:
    """The LoRAs of one model: which are resident, and what each set of them is in each module.

    All but `prepare` belongs to the engine's thread. `in_use` are the sets of the requests that are being drawn.
    """

    def __init__(self, pipeline: DiffusionPipeline, specs: Mapping[str, LoraSpec], most: int) -> None:
        """`most` LoRAs are resident at a time."""
        self._pipeline = pipeline
        self._specs = specs
        self._most = most
        self._modules = {name: LoraHooks(m) for name, m in lora_modules(pipeline).items()} if specs else {}
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
