"""What the shipped models need of a device, as `python -m models.weights.counting` has counted it on their modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from core.validation import Strict

FILE = Path(__file__).parent / "figures.yaml"


class Figures(Strict):
    """GiB of a device's memory, of the entry's own precisions, at its default size and for one sample.

    Attention counts as kernels of accelerators compute it, without a matrix of all pairs. What kernels and the
    allocator take for themselves is not in here: RESERVE.
    """

    weights_gib: Mapping[str, float]
    """By component."""
    denoising_gib: float = Field(ge=0)
    """The largest sum of tensors that live during one call of the denoiser, beside the weights."""
    decoding_gib: float = Field(ge=0)
    """Likewise of the decoder, for the whole image or clip at once."""
    tiled_gib: float = Field(ge=0)
    """Likewise in tiles."""
    decoder_latents: int = Field(ge=1)
    """Latent positions that `decoding_gib` is for; it grows with them."""
    call_tflop: float = Field(ge=0)
    """Floating-point operations of one denoiser call, in 10^12."""
    stored_gib: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """The weights of denoisers and text encoders, by component: cast layer by layer (`float8`), and with linear layers
    in fewer bits (`8bit`, `4bit`)."""
    grouped_gib: Mapping[str, float] = Field(default_factory=dict)
    """The most of their weights that are on the device at once when these come in groups."""
    controlnets_gib: Mapping[str, float] = Field(default_factory=dict)
    """The weights of the ControlNets that requests may choose, by repository: on the device once one has chosen it."""
    ip_adapters_gib: Mapping[str, float] = Field(default_factory=dict)
    """Likewise of the IP-Adapter and its image encoder, by the adapter's source."""

    @property
    def all_weights_gib(self) -> float:
        return sum(self.weights_gib.values())

    def decode_tokens(self, room_gib: float) -> int:
        """Return how many latent positions may be decoded at once in so much memory, beside the weights."""
        return max(1, int(self.decoder_latents * (room_gib - RESERVE_GIB) / max(self.decoding_gib, 0.01)))


RESERVE_GIB = 1.0
"""For the device's context, kernels' own memory, and latents and encodings of waiting images."""


def figures_of(model: str) -> Figures | None:
    """Return what has been counted of a shipped model."""
    counted = _counted().get(model)
    return None if counted is None else Figures.model_validate(counted)


@cache
def _counted() -> Mapping[str, Any]:
    # Libyaml's loader takes a tenth of the time, and every process of a server reads this as it starts.
    counted: Mapping[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return counted
