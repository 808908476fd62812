"""Which calls of one part can share a forward pass: those whose arguments have equal signatures.

A family declares what each argument of its parts is (`models.catalogue.families.Part`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from models.catalogue.families import Part

_digests = WeakTensorKeyDictionary()
"""Digests of tensors that pipelines make once and use at every step."""


def signature(part: Part, arguments: Mapping[str, Any]) -> Hashable:
    """Return a key that must be equal for calls of one part to be merged."""
    return tuple(
        (name, _argument_signature(part, name, value))
        for name, value in sorted(arguments.items())
        if name != part.padding_mask
    )


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return all tensors of nested values, in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def shapes(arguments: Mapping[str, Any]) -> Hashable:
    """Return the shapes of all tensors, in order, batch axis included."""
    return tuple(tensor.shape for tensor in tensors_in(arguments))


def content_digest(arguments: Mapping[str, Any]) -> bytes:
    """Digest the values of all tensors; synchronises with their device."""
    content = hashlib.blake2b()
    for tensor in tensors_in(arguments):
        content.update(_bytes_of(tensor))
    return content.digest()


def tensor_digest(tensor: torch.Tensor) -> bytes:
    """Digest the values of a tensor that will not change; synchronises with its device the first time."""
    digest: bytes | None = _digests.get(tensor)
    if digest is None:
        digest = _digests[tensor] = hashlib.blake2b(_bytes_of(tensor)).digest()
    return digest


def _argument_signature(part: Part, name: str, value: Any) -> Hashable:
    if name in part.shared:
        leaves, structure = pytree.tree_flatten(value)
        return (str(structure), tuple(map(_shared_signature, leaves)))
    if name in part.stacked:
        return (value.shape[0], value.shape[2:], value.dtype, value.device)
    if name in part.padded:
        texts, structure = pytree.tree_flatten(value)
        return (str(structure), tuple(_leaf_signature(text, 2) for text in texts))
    if name in part.ragged:
        return (value[0].dtype, value[0].device)
    if isinstance(value, torch.Tensor):
        return _leaf_signature(value, 1)
    # All samples of one call have equal signatures.
    leaves, structure = pytree.tree_flatten(value[0] if name in part.listed else value)
    first_axis = 0 if name in part.listed else 1
    return (str(structure), tuple(_leaf_signature(leaf, first_axis) for leaf in leaves))


def _shared_signature(leaf: Any) -> Hashable:
    if not isinstance(leaf, torch.Tensor):
        return _leaf_signature(leaf, 0)
    return (leaf.shape, leaf.dtype, tensor_digest(leaf))


def _leaf_signature(leaf: Any, first_axis: int) -> Hashable:
    if not isinstance(leaf, torch.Tensor):
        return leaf if isinstance(leaf, Hashable) else id(leaf)
    return (leaf.shape[first_axis:], leaf.dtype, leaf.device)


def _bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
