"""How much of a model's work its runner takes on, and how it loads the model. Knows no torch, which
processes that only hear of runners do without.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineLimits:
    batch_tokens: int
    """Latent positions in one forward pass, samples of classifier-free guidance included."""
    max_running: int = 64
    """Pictures in progress; each holds its latents and encodings."""
    max_queue: int = 256
    """Requests that may wait beyond those in progress."""
    max_loras: int = 16
    """LoRAs resident at a time; requests for others wait until one is free."""


@dataclass(frozen=True)
class HostOptions:
    device: str = "auto"
    dtype: str | None = None
    allow_pickle: bool = False
    idle_unload_s: float | None = None
