"""Finds out what a single-file checkpoint is, from the names and shapes of its tensors, without reading them."""

from __future__ import annotations

from pathlib import Path

import torch
from huggingface_hub import parse_safetensors_file_metadata

from core.errors import LoadFailed
from models.catalogue.families import FAMILIES
from models.catalogue.single_files import without_ending
from models.catalogue.sources import Source
from models.weights.describing.checkpoint_facts import CheckpointFacts, Weights
from models.weights.describing.file_kinds import FileKind, kind_of
from models.weights.describing.model_folder import ModelCard, listing, local_card
from models.weights.fetching.explanations import explained, explained_fetch
from models.weights.fetching.fetch import local_path, refuse_pickle_name
from models.weights.files.completing import is_gguf
from models.weights.files.contents import Contents, contents, like_stored, outline
from models.weights.files.gguf_outline import gguf_outline

WITH_T5 = ("stable-diffusion-3", "flux", "wan", "ltx")
HALF_OF_WAN = ("high_noise", "high-noise", "highnoise", "low_noise", "low-noise", "lownoise")


def inspect_file(source: Source, name: str, *, allow_pickle: bool) -> CheckpointFacts:
    """Return what a file is. Raises LoadFailed with what to do, or LoadInterrupted."""
    if not allow_pickle:
        refuse_pickle_name(str(source))
    sizes, card = _card(source)
    tensors, size_bytes = _outline(source, sizes)
    file = Path(str(source))
    held = contents(tensors, file)
    kind = kind_of(tensors, held, f"{source.repo or ''} {file.name}".lower())
    if kind.family == "wan" and any(part in file.name.lower() for part in HALF_OF_WAN):
        raise LoadFailed("it is one of the two transformers of Wan 2.2 A14B; name the folder or repository with both")
    return CheckpointFacts(
        name=without_ending(name),
        family=kind.family,
        weights=_weights(held, kind, size_bytes, quantized=is_gguf(file)),
        card=card,
        tasks=kind.tasks,
        bases=kind.bases,
        alone=not _is_whole(held, kind.family),
    )


def _card(source: Source) -> tuple[dict[str, int], ModelCard]:
    if source.repo is None:
        path = local_path(source)
        return {}, local_card(path.parent)
    sizes, card = listing(source.model_copy(update={"file": None, "subfolder": None}))
    return dict(sizes), card


def _outline(source: Source, sizes: dict[str, int]) -> tuple[dict[str, torch.Tensor], int]:
    """Return the tensors of a file without their values, and its size in bytes.

    Only the header is fetched of a safetensors file on the hub.
    """
    inside = "/".join(filter(None, (source.subfolder, source.file)))
    if source.repo is not None and inside.endswith(".safetensors"):
        with explained_fetch(source):
            header = parse_safetensors_file_metadata(source.repo, inside, revision=source.revision)
        return {name: like_stored(each.shape, each.dtype) for name, each in header.tensors.items()}, sizes.get(
            inside, 0
        )
    path = local_path(source)
    with explained(source):
        return gguf_outline(path) if is_gguf(path) else outline(path), path.stat().st_size


def _is_whole(held: Contents, family: str) -> bool:
    """Whether the file has all components; files often lack the largest of several text encoders."""
    if not held.vae or not held.text:
        return False
    return not family.startswith(WITH_T5) or any("t5" in name for name in held.text)


def _weights(held: Contents, kind: FileKind, size_bytes: int, *, quantized: bool) -> Weights:
    denoiser = FAMILIES[kind.family].denoiser
    parts = {denoiser: held.denoiser, "vae": held.vae, "text_encoder": held.text}
    counts = {name: sum(tensor.numel() for tensor in tensors.values()) for name, tensors in parts.items()}
    matrices = [tensor for tensor in held.denoiser.values() if tensor.ndim >= 2]
    dtypes = [tensor.dtype for tensor in matrices]
    usual = max(set(dtypes), key=dtypes.count) if dtypes else None
    return Weights(
        {name: count for name, count in counts.items() if count},
        "BF16" if usual is torch.bfloat16 and not quantized else "",
        size_bytes,
        size_bytes if quantized else None,
    )
