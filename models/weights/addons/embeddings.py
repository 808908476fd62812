"""Embeddings of new words (textual inversions): each becomes a token of the tokenizers, or one per vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file

from core.errors import LoadFailed
from models.catalogue.addons import EmbeddingSpec
from models.catalogue.families import TEXT_ENCODERS, tokenizer_of
from models.weights.fetching.explanations import named
from models.weights.fetching.fetch import local_path, only_file

BY_NAME = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""The text encoders that the tensors of a file with several are for, by name."""
T5 = ("t5", "t5xxl")


def embedding_files(specs: Mapping[str, EmbeddingSpec]) -> dict[str, Path]:
    """Return the file of each token, fetching it if needed. Raises LoadFailed or LoadInterrupted, naming the token."""
    files = {}
    for token, spec in specs.items():
        with named(f"the embedding {token!r}"):
            files[token] = only_file(local_path(spec.source))
            if files[token].suffix != ".safetensors":
                raise LoadFailed("it is not a safetensors file; convert pickles (.pt, .bin) to one")
    return files


def add_embeddings(pipeline: DiffusionPipeline, files: Mapping[str, Path]) -> None:
    """Teach the pipeline's tokenizers and text encoders the tokens. Raises LoadFailed, naming the token that fails."""
    for token, file in files.items():
        with named(f"the embedding {token!r}"):
            for encoder, own in list(_vectors(load_file(file), pipeline)):
                _teach(pipeline, token, encoder, own)


def _vectors(tensors: Mapping[str, torch.Tensor], pipeline: DiffusionPipeline) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each text encoder's component name, and the vectors for it, (n, width)."""
    encoders = {name: _width(pipeline, name) for name in TEXT_ENCODERS if getattr(pipeline, name, None) is not None}
    if not hasattr(pipeline, "load_textual_inversion"):
        raise LoadFailed("the pipelines of this model take none")
    for name, tensor in tensors.items():
        own = tensor.reshape(-1, tensor.shape[-1])
        wanted = _component(name, encoders, pipeline)
        if len(tensors) > 1 and wanted is None:
            raise LoadFailed(f"it is not an embedding: it holds {', '.join(list(tensors)[:3])}")
        fitting = [each for each in encoders if encoders[each] == own.shape[1] and wanted in (None, each)]
        if not fitting:
            widths = " and ".join(map(str, dict.fromkeys(encoders.values())))
            raise LoadFailed(
                f"its vectors have {own.shape[1]} numbers, and this model's have {widths}; it is for another model"
            )
        yield fitting[0], own


def _component(name: str, encoders: Mapping[str, int], pipeline: DiffusionPipeline) -> str | None:
    if name in T5:
        return next((each for each in encoders if "T5" in type(getattr(pipeline, each)).__name__), "no T5")
    return BY_NAME.get(name)


def _width(pipeline: DiffusionPipeline, encoder: str) -> int:
    width: int = getattr(pipeline, encoder).get_input_embeddings().weight.shape[1]
    return width


def _teach(pipeline: DiffusionPipeline, token: str, encoder: str, vectors: torch.Tensor) -> None:
    tokenizer = getattr(pipeline, tokenizer_of(encoder))
    if token in tokenizer.get_vocab():
        raise LoadFailed("the model knows a word of this name already; give it another name")
    # For further vectors, diffusers makes further tokens, and adds them all to prompts that contain the first.
    load: Any = pipeline.load_textual_inversion
    load(vectors, token=token, tokenizer=tokenizer, text_encoder=getattr(pipeline, encoder))
