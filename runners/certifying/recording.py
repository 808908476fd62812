"""Records the calls that unmodified pipelines make of their modules, with the outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch.utils import _pytree as pytree

FORWARD = "forward"
CODING = ("encode", "decode")
"""The methods of an autoencoder that pipelines call instead of `forward`."""


@dataclass(frozen=True)
class RecordedCall:
    """One unmerged call of a module's method."""

    component: str
    method: str
    request: int
    """The number of the request that it belongs to."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


class Recording:
    """Calls in order; `begin` starts the next request."""

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []
        self._request = -1

    def begin(self) -> None:
        self._request += 1

    def add(self, component: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        # Copied, since pipelines may change their tensors in place afterwards.
        args, kwargs, output = pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs, output))
        self.calls.append(RecordedCall(component, method, self._request, args, kwargs, output))


@contextmanager
def recording(components: Mapping[str, Any]) -> Iterator[Recording]:
    """Record the calls of all modules among a pipeline's components until the block ends."""
    record = Recording()
    with ExitStack() as stack:
        for name, module in components.items():
            if isinstance(module, torch.nn.Module):
                for method in methods_of(module):
                    stack.enter_context(_recorded(record, name, module, method))
        yield record


def methods_of(module: torch.nn.Module) -> tuple[str, ...]:
    """Return the methods that pipelines call, if they can be called with named arguments."""
    methods = CODING if all(hasattr(module, method) for method in CODING) else (FORWARD,)
    return tuple(method for method in methods if _has_names(getattr(module, method)))


def _has_names(function: Callable[..., Any]) -> bool:
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    return all(parameter.kind not in unnamed for parameter in inspect.signature(function).parameters.values())


@contextmanager
def _recorded(record: Recording, name: str, module: torch.nn.Module, method: str) -> Iterator[None]:
    """Record one method of a module by shadowing it in the instance, where `Module.__call__` looks it up too."""
    run = getattr(module, method)

    @wraps(run)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        output = run(*args, **kwargs)
        record.add(name, method, args, kwargs, output)
        return output

    before = module.__dict__.get(method)
    module.__dict__[method] = recorded
    try:
        yield
    finally:
        if before is None:
            del module.__dict__[method]
        else:
            # Offloading may have shadowed the method before.
            module.__dict__[method] = before
