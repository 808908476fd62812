"""What is seen of a checkpoint, from which an entry is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.generation.request import Task
from models.weights.describing.model_folder import ModelCard


@dataclass(frozen=True)
class Weights:
    """The size of weights, to download and in memory."""

    parameters: Mapping[str, int]
    """By component."""
    stored: str
    """The number format of most of the denoiser's weights, as safetensors names it: F16, BF16, F8_E4M3."""
    download_bytes: int
    quantized_bytes: int | None = None
    """The denoiser's size in memory, if its weights stay as they are stored."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What was seen of a checkpoint of a declared family."""

    name: str
    """Its name for people, which often tells what files do not, such as the number of steps it was distilled to."""
    family: str
    weights: Weights
    card: ModelCard
    tasks: tuple[Task, ...] = ()
    """All its tasks; empty: all of its family."""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """Its scheduler's configuration; empty where a single file has none."""
    variant: str | None = None
    bases: tuple[str, ...] = ()
    """The repositories that its tensors match."""
    native_px: int | None = None
    """The side of the pictures that it was trained on."""
    latent_channels: int | None = None
    experts: int = 1
    """The number of its denoisers: Wan 2.2 A14B has two."""
    guided_by_input: bool = False
    """Whether its UNet takes the guidance scale as an input, as LCM-distilled ones do."""
    distilled: bool | None = None
    """Whether it says that it is distilled; None if it does not say."""
    pipeline: str = ""
    """Its class in diffusers."""
    alone: bool = False
    """Whether it consists of a denoiser only."""
