"""What an entry is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.generation.request import Task
from models.weights.describing.model_folder import ModelCard


@dataclass(frozen=True)
class Weights:
    """How much there is to download, and to keep in memory."""

    parameters: Mapping[str, int]
    """Of each component."""
    stored: str
    """The number format of most of the denoiser, as safetensors call it: F16, BF16, F8_E4M3."""
    download_bytes: int
    quantized_bytes: int | None = None
    """Of a denoiser whose weights stay as they are stored."""


@dataclass(frozen=True)
class Look:
    """What was seen of a checkpoint of a declared family."""

    name: str
    """What people call it; names often say what files do not, such as for how few steps it is."""
    family: str
    weights: Weights
    card: ModelCard
    tasks: tuple[Task, ...] = ()
    """All that it can do; none: all that its family can."""
    sampler: Mapping[str, Any] = field(default_factory=dict)
    """Its scheduler's configuration; empty where a single file has none."""
    variant: str | None = None
    bases: tuple[str, ...] = ()
    """The repositories that its tensors are like."""
    native_px: int | None = None
    """The side of a picture that it was trained on."""
    latent_channels: int | None = None
    experts: int = 1
    """Its denoisers: Wan 2.2 A14B has two."""
    guided_by_input: bool = False
    """Whether a UNet gets the scale as an input, as those distilled by LCM do."""
    distilled: bool | None = None
    """Whether it says that it is; None: it does not say."""
    pipeline: str = ""
    """Its class in diffusers."""
    alone: bool = False
    """Whether it is a denoiser without the rest."""
