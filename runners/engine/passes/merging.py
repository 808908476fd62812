"""Merges the arguments of several calls into those of one, and splits the output.

A family declares what each argument of its parts is (`models.catalogue.families.Part`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.utils import _pytree as pytree

from models.catalogue.families import CallStage, Part
from models.weights.compiling.shapes import bucket_of
from runners.engine.passes.module_calls import ModuleCall


class SeededDistribution(DiagonalGaussianDistribution):  # type: ignore[misc]
    """The output of a VAE's encoder; without a generator, sampling it returns the mode.

    SD3's pipelines encode control images without their generator, which would make requests irreproducible.
    """

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        sample: torch.Tensor = self.mode() if generator is None else super().sample(generator)
        return sample


# pytree treats a distribution like the tensor of its moments.
for kind in (DiagonalGaussianDistribution, SeededDistribution):
    pytree.register_pytree_node(
        kind,
        lambda dist: ([dist.parameters], dist.deterministic),
        lambda moments, deterministic: SeededDistribution(next(iter(moments)), deterministic),
    )


def merge(calls: Sequence[ModuleCall], text_buckets: Sequence[int] = ()) -> dict[str, Any]:
    """Join the arguments of calls with one signature, in order.

    With `text_buckets`, the lengths that a compiled module takes, padded texts get one of these lengths, and a mask.
    """
    part = calls[0].part
    if len(calls) == 1 and not (text_buckets and part.padded):
        return calls[0].arguments
    merged = {
        name: _joined(part, name, calls, text_buckets) for name in calls[0].arguments if name != part.padding_mask
    }
    if part.padding_mask is not None:
        merged[part.padding_mask] = _joined_masks(part, calls, text_buckets)
    return merged


def _joined(part: Part, name: str, calls: Sequence[ModuleCall], text_buckets: Sequence[int]) -> Any:
    values = [call.arguments[name] for call in calls]
    if name in part.shared:
        return values[0]
    if name in part.listed or name in part.ragged:
        return list(chain.from_iterable(values))
    if name in part.stacked:
        return torch.cat(values, dim=1)
    if name in part.padded:
        return pytree.tree_map(lambda *texts: _joined_texts(texts, text_buckets), *values)
    # A shortcut for plain tensors, which are the most common: pytree takes as long as joining them.
    return torch.cat(values) if isinstance(values[0], torch.Tensor) else pytree.tree_map(_concatenated, *values)


def _joined_texts(texts: Sequence[torch.Tensor], text_buckets: Sequence[int]) -> torch.Tensor:
    length = _common_length(texts, text_buckets)
    return torch.cat([_padded(text, length) for text in texts])


def _common_length(texts: Sequence[torch.Tensor], text_buckets: Sequence[int]) -> int:
    longest = max(text.shape[1] for text in texts)
    return bucket_of(longest, text_buckets) if text_buckets else longest


def _joined_masks(part: Part, calls: Sequence[ModuleCall], text_buckets: Sequence[int]) -> torch.Tensor | None:
    """Return the mask (B, length), or None if no position is padding."""
    assert part.padding_mask is not None
    texts = [call.arguments[next(iter(part.padded))] for call in calls]  # each (B, length, ...)
    length = _common_length(texts, text_buckets)
    given = [call.arguments.get(part.padding_mask) for call in calls]
    if not text_buckets and all(mask is None for mask in given) and all(text.shape[1] == length for text in texts):
        return None
    masks = [
        torch.ones(text.shape[:2], dtype=torch.bool, device=text.device) if mask is None else mask.bool()
        for text, mask in zip(texts, given, strict=True)
    ]
    return torch.cat([_padded(mask, length) for mask in masks])


def _padded(value: torch.Tensor, length: int) -> torch.Tensor:
    """Append zeros along the second axis."""
    missing = length - value.shape[1]
    return F.pad(value, (*(0, 0) * (value.ndim - 2), 0, missing)) if missing else value


def _concatenated(*leaves: Any) -> Any:
    return torch.cat(leaves) if isinstance(leaves[0], torch.Tensor) else leaves[0]


def samples_of(part: Part, arguments: Mapping[str, Any], kept: slice) -> dict[str, Any]:
    """Cut a call's arguments down to some of its samples."""
    return {name: _of_samples(part, name, value, kept) for name, value in arguments.items()}


def _of_samples(part: Part, name: str, value: Any, kept: slice) -> Any:
    if name in part.shared:
        return value
    if name in part.listed or name in part.ragged:
        return value[kept]
    if name in part.stacked:
        return value[:, kept]
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor[kept], value)


def repeated_output(part: Part, output: Any, samples: int) -> Any:
    """Return an output with its samples repeated, as two equal halves."""
    return pytree.tree_map(_twice, output, is_leaf=_is_sample_list(part, samples))


def _twice(leaf: Any) -> Any:
    return torch.cat([leaf, leaf]) if isinstance(leaf, torch.Tensor) else [*leaf, *leaf]


def split(output: Any, calls: Sequence[ModuleCall]) -> list[Any]:
    """Split the output of a merged call into those of its members."""
    if calls[0].part.apart:
        return [output]
    sizes = [call.samples for call in calls]
    if _is_tuple_of_tensors(output):
        outputs = list(zip(*(leaf.split(sizes) for leaf in output), strict=True))
    else:
        leaves, structure = pytree.tree_flatten(output, is_leaf=_is_sample_list(calls[0].part, sum(sizes)))
        columns = [_cut(leaf, sizes) for leaf in leaves]
        outputs = [pytree.tree_unflatten(list(row), structure) for row in zip(*columns, strict=True)]
    if (unpadded := calls[0].part.unpadded) is None:
        return outputs
    return [unpadded(output, call.arguments) for output, call in zip(outputs, calls, strict=True)]


def _is_tuple_of_tensors(output: Any) -> bool:
    """Whether it is a plain tuple of tensors, as most modules return; pytree takes longer to flatten one than what
    follows.
    """
    return type(output) is tuple and len(output) > 0 and all(isinstance(leaf, torch.Tensor) for leaf in output)


def _cut(leaf: Any, sizes: Sequence[int]) -> Sequence[Any]:
    if isinstance(leaf, torch.Tensor):
        return list(leaf.split(list(sizes)))
    if isinstance(leaf, list):
        ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
        return [leaf[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [leaf] * len(sizes)


def _is_sample_list(part: Part, samples: int) -> Any:
    """Return a predicate for outputs that are lists with one tensor per sample, as Z-Image's are, (C, F, h, w) each.

    Other lists contain whole batches, like ControlNets' residuals, even if the module takes lists.
    """
    if not part.listed or part.stage is CallStage.CONTROL:
        return None
    return lambda node: isinstance(node, list) and len(node) == samples and isinstance(node[0], torch.Tensor)


def finite_samples(part: Part, output: Any, samples: int) -> torch.Tensor:
    """Whether each sample of an output is free of NaN and infinity, (samples,) of bool on its device."""
    leaves = output
    if not _is_tuple_of_tensors(output):
        leaves = pytree.tree_leaves(output, is_leaf=_is_sample_list(part, samples))
    finite = [verdict for leaf in leaves if (verdict := _finite(leaf, samples)) is not None]
    if not finite:
        return torch.ones(samples, dtype=torch.bool)
    return torch.stack(finite).all(dim=0) if len(finite) > 1 else finite[0]


def _finite(leaf: Any, samples: int) -> torch.Tensor | None:
    """Return (samples,), bool, or None for anything but floating-point tensors."""
    if isinstance(leaf, list):
        return torch.stack([torch.isfinite(entry).all() for entry in leaf])
    if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel():
        # Zero times a finite value is zero, and NaN otherwise; the sum of the values themselves might overflow, as that
        # of an additive mask. `isfinite` of each value takes ten to forty times as long on a CPU, and flattening
        # channels-last tensors copies them.
        rows = leaf if leaf.ndim > 1 and len(leaf) == samples else leaf.reshape(samples, -1)
        return (rows * 0).sum(dim=tuple(range(1, rows.ndim))) == 0
    return None
