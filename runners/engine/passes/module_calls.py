"""Parked module calls: a pipeline's call of a module, with all arguments named.

Calls with equal signatures can be run as one (`runners.engine.passes.merging`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch.utils import _pytree as pytree

from models.catalogue.families import CallStage, Part
from runners.engine.loras.hooks import NONE, Adapter
from runners.engine.passes.signatures import content_digest, shapes, signature

FIXED_CALLS = 4
"""Calls in a pass of fixed size: enough for sharing to pay, and few enough to pad the pass for a single request."""
Place = int | str | tuple[int, ...]
"""Where an argument is: among those by place, among those by name, or several of the former (`*args`)."""
SEED = "seed of the call"
"""The extra argument of calls that draw from PyTorch's default generator; no method has one of this name."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One batched method of one module: makes calls from arguments, and runs them."""

    part: Part
    module: torch.nn.Module
    home: torch.device | None = None
    """The device of its callers, if the module is on another one."""

    def run(self, **arguments: Any) -> Any:
        """Call the method, moving arguments and results between the devices if they differ."""
        if self.part.seeded:
            torch.manual_seed(arguments.pop(SEED))
        if self.home is None:
            return self._method(**arguments)
        return _moved(self._method(**_moved(arguments, self.device)), self.home)

    @cached_property
    def _method(self) -> Callable[..., Any]:
        # A module is called, not its `forward`, so that its hooks (offloading, adapters) run once a batch.
        return self.module if self.part.method == "forward" else getattr(self.module, self.part.method)

    @cached_property
    def dtype(self) -> torch.dtype:
        # Cached, like the device, since finding it walks through the module's layers.
        return cast(torch.dtype, self.module.dtype)

    @cached_property
    def device(self) -> torch.device:
        return cast(torch.device, self.module.device)

    @cached_property
    def _bindings(self) -> dict[Hashable, list[tuple[str, Place]]]:
        """By how arguments were passed: the method's names for them, in its order, and their places or names there."""
        return {}

    def _binding(self, given: int, names: Sequence[str]) -> list[tuple[str, Place]]:
        """Return the names of that many positional arguments and of those passed by name, without ignored ones."""
        # Binding takes most of the time that making a call takes, and pipelines pass arguments alike at every step.
        key = (given, *names)
        if key not in self._bindings:
            signature_of_method = inspect.signature(getattr(self.module, self.part.method))
            bound = signature_of_method.bind(*range(given), **{name: name for name in names}).arguments
            kinds = {parameter.kind: name for name, parameter in signature_of_method.parameters.items()}
            others = bound.pop(kinds.get(inspect.Parameter.VAR_KEYWORD, ""), {})
            own = [(name, place) for name, place in bound.items() if name not in self.part.ignored]
            self._bindings[key] = [*own, *((name, name) for name in others)]
        return self._bindings[key]

    def call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        added: Mapping[str, Any],
        adapter: Adapter = NONE,
        fixed_tokens: int | None = None,
    ) -> ModuleCall:
        """Make a call with all arguments named, so that positional and keyword callers can share.

        `added` are arguments from the request in addition to the pipeline's. With `fixed_tokens`, the call's result
        must not depend on its pass: its passes have a fixed size, of at most that many tokens unless one call has more.
        """
        given = self._named(args, kwargs)
        arguments = {**given, **self.part.fixed, **added}
        if self.part.seeded:
            # Read now, since others may seed the generator before the call is run.
            arguments[SEED] = torch.initial_seed()
        samples, positions = _size(self.part, arguments)
        samples = 1 if self.part.apart else samples
        tokens = self._tokens(arguments, samples, positions)
        return ModuleCall(
            operation=self,
            arguments={name: self._normal(name, value, samples) for name, value in arguments.items()},
            adapter=adapter,
            samples=samples,
            tokens=tokens,
            calls_in_pass=self._calls_in_pass(tokens, fixed_tokens),
            given_dtype=_floating_dtype(arguments),
        )

    def _tokens(self, arguments: Mapping[str, Any], samples: int, positions: int) -> int:
        if self.part.sample_tokens is None:
            return positions // self.part.pixels_per_token
        return samples * self.part.sample_tokens(self.module, arguments)

    def _calls_in_pass(self, tokens: int, fixed_tokens: int | None) -> int | None:
        if fixed_tokens is None:
            return None
        # A call that runs apart always has the same pass.
        return 1 if self.part.apart else max(1, min(FIXED_CALLS, fixed_tokens // max(tokens, 1)))

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        named = {name: _at(place, args, kwargs) for name, place in self._binding(len(args), tuple(kwargs))}
        # To almost all modules, an empty argument and an omitted one are the same; the others run apart.
        if self.part.apart:
            return named
        return {name: value for name, value in named.items() if not _is_nothing(value)}

    def _normal(self, name: str, value: Any, samples: int) -> Any:
        """Expand `numbers` of the part, and tensors that are scalar (as SD pipelines pass `timestep`) or have a single
        entry, to an entry per sample.

        Integer timesteps become float32, in which every timestep embedding computes anyway; so samplers with fractional
        timesteps (Euler) share a pass with the others.
        """
        if self.part.apart:
            return value
        if name in self.part.numbers:
            ones = (1,) * (self.part.number_axes - 1)
            return torch.full((samples, *ones), value, dtype=self.dtype, device=self.device)
        if isinstance(value, torch.Tensor) and value.ndim == 0:
            return value.to(torch.float32).expand(samples)
        if isinstance(value, torch.Tensor) and value.ndim == 1 and len(value) == 1:
            return value.expand(samples)
        return _to(value, self.dtype) if self.part.casts else value


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One parked call of an operation."""

    operation: Operation
    arguments: dict[str, Any]
    adapter: Adapter
    """The LoRAs that it runs under."""
    samples: int
    """Its length along the batch axis."""
    tokens: int
    """Its tokens in the budget."""
    given_dtype: torch.dtype | None
    """The dtype of the pipeline's own floating-point arguments."""
    calls_in_pass: int | None = None
    """The fixed number of calls of its size in each of its passes, for reproducible arithmetic; None: any number."""

    @property
    def part(self) -> Part:
        return self.operation.part

    @property
    def stage(self) -> CallStage:
        return self.part.stage

    @cached_property
    def signature(self) -> Hashable:
        """Equal for calls that may share one forward pass."""
        if self.part.apart:
            return id(self)
        shared = (id(self.operation), signature(self.part, self.arguments))
        if self.calls_in_pass is not None:
            return (*shared, self.adapter, self.calls_in_pass, self.samples, shapes(self.arguments))
        return (*shared, None if self.adapter.mixes else self.adapter)

    def content_key(self) -> Hashable:
        """Equal for calls with equal results; copies tensors to the host, so meant for small inputs."""
        return (self.signature, self.samples, content_digest(self.arguments), self.adapter)

    def answered(self, output: Any) -> Any:
        """Return an output of the module in the dtype that the pipeline expects: that of its arguments."""
        if not self.part.casts or self.given_dtype is None:
            return output
        return pytree.tree_map(lambda leaf: _to(leaf, self.given_dtype), output)


def _at(place: Place, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    if isinstance(place, int):
        return args[place]
    return kwargs[place] if isinstance(place, str) else tuple(args[each] for each in place)


def _is_nothing(value: Any) -> bool:
    """Whether an argument is None or empty: some pipelines of a family pass empty attention options, others None."""
    return value is None or (isinstance(value, dict) and not value)


def _moved(value: Any, device: torch.device) -> Any:
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), value)


def _to(value: Any, dtype: Any) -> Any:
    return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _floating_dtype(arguments: dict[str, Any]) -> torch.dtype | None:
    dtypes = (v.dtype for v in arguments.values() if isinstance(v, torch.Tensor) and v.is_floating_point())
    return next(dtypes, None)


def _size(part: Part, arguments: dict[str, Any]) -> tuple[int, int]:
    """Return the samples, and the latent positions of all of them, by the first argument with tensors."""
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor) and value.ndim and name not in part.shared:
            return value.shape[0], value.shape[0] * _positions(value)
        if isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
            return len(value), sum(entry.shape[1:].numel() for entry in value)
    if part.apart:
        return 1, 1
    raise TypeError("a batched call needs a tensor")


def _positions(tensor: torch.Tensor) -> int:
    """Return the latent positions of one sample: the spatial axes of (B, C, *spatial), the sequence of (B, S[, D])."""
    if tensor.ndim >= 4:
        return tensor.shape[2:].numel()
    return tensor.shape[1] if tensor.ndim >= 2 else 1
