"""What LTX-2 computes and keeps beyond its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from typing import Any

import torch

from models.catalogue.entry import Entry
from models.catalogue.families.videos.ltx2 import TEXT_TOKENS

SOUND_LATENTS_PER_S = 25


def sounding(entry: Entry, modules: Mapping[str, Any]) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Yield the calls that make the sound of a clip, each with the name of its component."""
    if "vocoder" not in modules:
        return
    audio_vae, latents = modules["audio_vae"], sound_latents(entry)
    config, mel_bins = audio_vae.config, audio_vae.config.mel_bins
    compressed = (1, config.latent_channels, latents, mel_bins // audio_vae.mel_compression_ratio)
    spectrogram = (1, config.output_channels, latents * audio_vae.temporal_compression_ratio, mel_bins)
    yield "audio_vae", audio_vae.decode, {"z": torch.empty(compressed, dtype=audio_vae.dtype, device="meta")}
    vocoder = modules["vocoder"]
    argument = next(iter(signature(vocoder.forward).parameters))
    yield "vocoder", vocoder, {argument: torch.empty(spectrogram, dtype=vocoder.dtype, device="meta")}


def kept_bytes(modules: Mapping[str, Any]) -> int:
    """Return the bytes that a pipeline keeps of a sample's prompt while it denoises, beside the denoiser's arguments:
    the hidden states of all layers of its text encoder.
    """
    if "connectors" not in modules:
        return 0
    config = modules["connectors"].config
    numbers: int = TEXT_TOKENS * config.caption_channels * config.text_proj_in_factor
    itemsize: int = modules["text_encoder"].dtype.itemsize
    return numbers * itemsize


def sound_latents(entry: Entry) -> int:
    defaults = entry.defaults
    return round(defaults.num_frames / defaults.fps * SOUND_LATENTS_PER_S)
