"""Applies the options for slicing and tiling, attention and compilation."""

from __future__ import annotations

from typing import Any

from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from core.errors import LoadFailed
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory
from models.weights.compiling.denoisers import compile_denoisers, denoisers


def tune(pipeline: DiffusionPipeline, family: Family, memory: Memory, device: str) -> None:
    """Set up the VAE's slicing and tiling, and the denoisers' attention and compilation."""
    if memory.vae_slicing:
        pipeline.vae.enable_slicing()
    if memory.vae_tiling:
        pipeline.vae.enable_tiling()
    if memory.attention is not None:
        for denoiser in denoisers(pipeline, family):
            _set_attention(denoiser, memory.attention)
    if memory.compile:
        compile_denoisers(pipeline, family, memory, device)


def _set_attention(denoiser: Any, backend: str) -> None:
    # diffusers also applies the last choice to all models of the process that have made none.
    before = _AttentionBackendRegistry.get_active_backend()[0]
    try:
        denoiser.set_attention_backend(backend)
    except (ImportError, RuntimeError, ValueError) as error:
        raise LoadFailed(f"memory.attention: {backend} cannot be used here: {error}") from error
    finally:
        _AttentionBackendRegistry.set_active_backend(before)
