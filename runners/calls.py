"""Parked module calls, and how several become one.

A `Call` is what a pipeline asked of a module: named arguments, their signature, and its share of the batch.
Calls with equal signatures can be run as one by concatenating tensors along their first axis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.utils import _pytree as pytree

from models.families import Part

# A VAE's encoder answers with a distribution; it splits like the tensor of its moments.
pytree.register_pytree_node(
    DiagonalGaussianDistribution,
    lambda dist: ([dist.parameters], dist.deterministic),
    lambda moments, deterministic: DiagonalGaussianDistribution(next(iter(moments)), deterministic),
)


@dataclass(frozen=True, eq=False)
class Operation:
    """One batched method of one module: what calls are made of, and what runs them."""

    part: Part
    module: torch.nn.Module

    @cached_property
    def run(self) -> Callable[..., Any]:
        # A module is called, not its `forward`, so that its hooks (offloading, adapters) run once a batch.
        return self.module if self.part.method == "forward" else getattr(self.module, self.part.method)

    @cached_property
    def _parameters(self) -> inspect.Signature:
        return inspect.signature(getattr(self.module, self.part.method))

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Name the arguments as the module does, so that positional and keyword callers can share."""
        bound = self._parameters.bind(*args, **kwargs)
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self._parameters.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            elif name not in self.part.ignored:
                named[name] = value
        return Call(self, {name: self._cast(value) for name, value in named.items() if value is not None})

    def _cast(self, value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(self.module.dtype) if self.part.casts and floating else value


class Call:
    """One parked call. `samples` is its length along the batch axis, `tokens` its share of the budget."""

    def __init__(self, operation: Operation, arguments: dict[str, Any]) -> None:
        self.operation = operation
        first = next(value for value in arguments.values() if isinstance(value, torch.Tensor))
        self.samples: int = first.shape[0]
        self.tokens = self.samples * _positions(first) // operation.part.pixels_per_token
        self.arguments = {name: self._per_sample(value) for name, value in arguments.items()}

    @property
    def stage(self) -> int:
        return self.operation.part.stage

    @cached_property
    def signature(self) -> Hashable:
        """Equal for calls that may share one forward pass."""
        leaves, structure = pytree.tree_flatten(self.arguments)
        return (id(self.operation), str(structure), tuple(self._leaf_signature(leaf) for leaf in leaves))

    def content_key(self) -> Hashable:
        """Equal for calls with equal results; copies tensors to the host, so meant for small inputs."""
        leaves, _ = pytree.tree_flatten(self.arguments)
        contents = tuple(leaf.cpu().numpy().tobytes() for leaf in leaves if isinstance(leaf, torch.Tensor))
        return (self.signature, self.samples, contents)

    def _per_sample(self, value: Any) -> Any:
        """Give a scalar tensor, as SD pipelines pass `timestep`, one entry per sample.

        Whole-numbered training times become float32, which every timestep embedding computes in anyway;
        so samplers with fractional times (Euler) share a pass with the others.
        """
        if isinstance(value, torch.Tensor) and value.ndim == 0:
            return value.to(torch.float32).expand(self.samples)
        return value

    def _leaf_signature(self, leaf: Any) -> Hashable:
        if not isinstance(leaf, torch.Tensor):
            return leaf if isinstance(leaf, Hashable) else id(leaf)
        return (leaf.shape[1:], leaf.dtype, leaf.device)


def _positions(tensor: torch.Tensor) -> int:
    """Latent positions of one sample: (B, C, *spatial) counts its spatial axes, (B, S[, D]) its sequence."""
    if tensor.ndim >= 4:
        return tensor.shape[2:].numel()
    return tensor.shape[1] if tensor.ndim >= 2 else 1


def merge(calls: Sequence[Call]) -> dict[str, Any]:
    """Concatenate the arguments of calls with one signature, in order."""
    if len(calls) == 1:
        return calls[0].arguments
    shared = calls[0].operation.part.follows_shape
    merged: dict[str, Any] = {}
    for name, first in calls[0].arguments.items():
        if name in shared:
            merged[name] = first
        else:
            merged[name] = pytree.tree_map(_concatenate, first, *(call.arguments[name] for call in calls[1:]))
    return merged


def _concatenate(*leaves: Any) -> Any:
    return torch.cat(leaves) if isinstance(leaves[0], torch.Tensor) else leaves[0]


def split(output: Any, calls: Sequence[Call]) -> list[Any]:
    """Cut the output of a merged call into the outputs its members would have had."""
    sizes = [call.samples for call in calls]
    leaves, structure = pytree.tree_flatten(output)
    columns = [leaf.split(sizes) if isinstance(leaf, torch.Tensor) else [leaf] * len(calls) for leaf in leaves]
    return [pytree.tree_unflatten(list(row), structure) for row in zip(*columns, strict=True)]


def finite_samples(output: Any, samples: int) -> list[bool]:
    """Whether each sample of an output is free of NaN and infinity; synchronises with the device once."""
    leaves, _ = pytree.tree_flatten(output)
    floats = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]
    finite = [torch.isfinite(leaf.reshape(samples, -1)).all(dim=1) for leaf in floats]
    verdict: list[bool] = torch.stack(finite).all(dim=0).tolist()
    return verdict
