"""Measures one call of a module: the peak size of its live tensors, and its floating-point operations."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Need(NamedTuple):
    peak_bytes: int
    """Not counting weights and inputs."""
    flop: float


def need_of(module: torch.nn.Module, call: Callable[..., Any], arguments: Mapping[str, Any]) -> Need:
    """Run a call of a module on the meta device. The peak does not include kernels' own workspace."""
    tensors = [*module.parameters(), *module.buffers(), *pytree.tree_leaves(dict(arguments))]
    live, fused = _LiveTensors(tensors), _FusedAttention()
    with torch.device("meta"), torch.no_grad(), fused, live:
        call(**arguments)
    return Need(live.peak_bytes, live.flop + fused.flop)


class _LiveTensors(TorchDispatchMode):
    """Tracks storages from their creation to their deletion."""

    def __init__(self, known: list[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.peak_bytes = self._bytes = self.flop = 0
        self._known = {id(each.untyped_storage()) for each in known if isinstance(each, torch.Tensor)}
        self._kept = known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flop += count(*args, **(kwargs or {}), out_val=output)
        for leaf in output if isinstance(output, (tuple, list)) else (output,):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return output

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._bytes += size
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._bytes -= size


class _FusedAttention(TorchFunctionMode):
    """Attention as every kernel of an accelerator computes it: without a matrix of all pairs of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, key, value = given["query"], given["key"], given["value"]
        self.flop += 2 * query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return query.new_empty((*query.shape[:-1], value.shape[-1]))
