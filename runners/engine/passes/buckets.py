"""Pads batches to fixed sizes, for denoisers that are compiled for each size, and for calls whose result must not
depend on what shares their pass.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from models.catalogue.families import CallStage, Part
from models.weights.compiling.shapes import bucket_of
from runners.engine.passes.merging import samples_of
from runners.engine.passes.module_calls import ModuleCall


def padded_to_bucket(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> list[ModuleCall]:
    """Return a pass's calls, followed by repetitions of the last one that pad its samples to a bucket.

    A batch larger than the largest bucket is padded to a multiple of it. Only denoisers that do not run apart have
    buckets.
    """
    batch = list(calls)
    missing = _missing(calls, buckets)
    while missing:
        filler = _cut(calls[-1], min(missing, calls[-1].samples))
        batch.append(filler)
        missing -= filler.samples
    return batch


def calls_that_fit(calls: Sequence[ModuleCall], buckets: Sequence[int], budget: int) -> int:
    """Return how many of the calls, from the first, fit into a budget of tokens when padded to a bucket; at least 1."""
    return next((number for number in range(len(calls), 1, -1) if _tokens(calls[:number], buckets) <= budget), 1)


def compiled_shape(part: Part, arguments: Mapping[str, Any], text_buckets: Sequence[int]) -> Hashable:
    """Return a key that is equal for merged arguments for which a compiled module runs the same code."""
    return (part.component, *((name, _shape(part, name, value, text_buckets)) for name, value in arguments.items()))


def _shape(part: Part, name: str, value: Any, text_buckets: Sequence[int]) -> Hashable:
    if name in part.ragged:
        # The module pads them to a bucket.
        return (len(value), bucket_of(max(map(len, value)), text_buckets))
    leaves, structure = pytree.tree_flatten(value)
    return (str(structure), tuple(leaf.shape if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves))


def _tokens(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> int:
    last = calls[-1]
    return sum(call.tokens for call in calls) + _missing(calls, buckets) * last.tokens // last.samples


def _missing(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> int:
    """Return how many samples a pass lacks to fill its bucket, or to have the fixed size of its calls' passes."""
    first, samples = calls[0], sum(call.samples for call in calls)
    needed = samples if first.calls_in_pass is None else first.calls_in_pass * first.samples
    if buckets and first.stage is CallStage.DENOISE and not first.part.apart:
        needed = bucket_of(needed, buckets)
    return needed - samples


def _cut(call: ModuleCall, samples: int) -> ModuleCall:
    return replace(call, samples=samples, arguments=samples_of(call.part, call.arguments, slice(samples)))
