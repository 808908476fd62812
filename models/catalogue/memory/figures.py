"""How much memory the shipped models need, as counted on their modules by `python -m models.weights.counting`."""

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
    """GiB of device memory, in the entry's own precisions, at its default size and for one sample.

    Attention is counted as accelerators' kernels compute it, without a matrix of all pairs. What kernels and the
    allocator take for themselves is not included; RESERVE_GIB is for that.
    """

    weights_gib: Mapping[str, float]
    """By component."""
    denoising_gib: float = Field(ge=0)
    """The largest sum of tensors that live during one call of the denoiser, beside the weights."""
    decoding_gib: float = Field(ge=0)
    """Likewise for the decoder, decoding the whole image or clip at once."""
    tiled_gib: float = Field(ge=0)
    """Likewise, decoding in tiles."""
    decoder_latents: int = Field(ge=1)
    """The latent positions that `decoding_gib` was counted for, to which it is proportional."""
    call_tflop: float = Field(ge=0)
    """Floating-point operations of one denoiser call, in 10^12."""
    stored_gib: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    """The weights of denoisers and text encoders when stored otherwise, by component: cast layer by layer (`float8`),
    or with quantized linear layers (`8bit`, `4bit`)."""
    grouped_gib: Mapping[str, float] = Field(default_factory=dict)
    """The most weights of each component that are on the device at once with group offloading."""
    controlnets_gib: Mapping[str, float] = Field(default_factory=dict)
    """The weights of the ControlNets that requests may choose, by repository; each is loaded on first use."""
    ip_adapters_gib: Mapping[str, float] = Field(default_factory=dict)
    """Likewise of the IP-Adapter and its image encoder, by the adapter's source."""

    @property
    def all_weights_gib(self) -> float:
        return sum(self.weights_gib.values())

    def decode_tokens(self, room_gib: float) -> int:
        """Return how many latent positions can be decoded at once in `room_gib`, not counting weights."""
        return max(1, int(self.decoder_latents * (room_gib - RESERVE_GIB) / max(self.decoding_gib, 0.01)))


RESERVE_GIB = 1.0
"""For the device's context, kernels' own memory, and latents and encodings of waiting images."""


def figures_of(model: str) -> Figures | None:
    """Return what has been counted of a shipped model."""
    counted = _counted().get(model)
    return None if counted is None else Figures.model_validate(counted)


@cache
def _counted() -> Mapping[str, Any]:
    # Libyaml's loader is ten times as fast, and every process of a server reads this at startup.
    counted: Mapping[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return counted
