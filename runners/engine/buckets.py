"""Fills batches up to fixed sizes: for denoisers that are compiled for each size, and for calls that must have the same
result in every pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from models.catalogue.families import Stage
from runners.engine.merging import first_samples
from runners.engine.module_calls import ModuleCall


def filled(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> list[ModuleCall]:
    """Return a pass's calls and, after them, repetitions of the last one that fill its samples up to a bucket.

    A batch larger than the largest bucket is filled up to a multiple of it. Other modules than the denoiser have no
    buckets.
    """
    batch = list(calls)
    missing = _missing(calls, buckets)
    while missing:
        filler = _cut(calls[-1], min(missing, calls[-1].samples))
        batch.append(filler)
        missing -= filler.samples
    return batch


def fitting(calls: Sequence[ModuleCall], buckets: Sequence[int], budget: int) -> int:
    """Return how many of the calls, from the first, fit into a budget of tokens once they are `filled`; at least 1."""
    return next((number for number in range(len(calls), 1, -1) if _tokens(calls[:number], buckets) <= budget), 1)


def _tokens(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> int:
    last = calls[-1]
    return sum(call.tokens for call in calls) + _missing(calls, buckets) * last.tokens // last.samples


def _missing(calls: Sequence[ModuleCall], buckets: Sequence[int]) -> int:
    """How many samples a pass lacks to fill its bucket, or to have the size that its calls always have."""
    first, samples = calls[0], sum(call.samples for call in calls)
    needed = samples if first.calls_in_pass is None else first.calls_in_pass * first.samples
    if buckets and first.stage is Stage.DENOISE:
        needed = bucket_of(needed, buckets)
    return needed - samples


def bucket_of(samples: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds so many samples, or else the next multiple of the largest."""
    largest = max(buckets)
    return min((size for size in buckets if size >= samples), default=-(-samples // largest) * largest)


def _cut(call: ModuleCall, samples: int) -> ModuleCall:
    return replace(call, samples=samples, arguments=first_samples(call.part, call.arguments, samples))
