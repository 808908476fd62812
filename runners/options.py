"""How much work a runner takes on, and how it loads its model. Imports no torch, so that the gateway can use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.catalogue.families import CallStage
from models.catalogue.memory.bounds import MemoryBounds


@dataclass(frozen=True)
class EngineLimits:
    batch_tokens: int
    """Latent positions in one forward pass, including those of classifier-free guidance."""
    decode_tokens: int | None = None
    """Latent positions that may be decoded at once, if memory is the limit; larger images are decoded in tiles."""
    max_running: int = 64
    """Images in progress; each holds its latents and encodings."""
    max_kept_gib: float = 4.0
    """GiB that images in progress may keep besides, in families with `kept_gib`: enough for two edits of a megapixel by
    GLM-Image. A single image may keep more.
    """
    max_queue: int = 256
    """Requests that may wait, besides those in progress."""
    max_loras: int = 16
    """LoRAs in memory at a time; requests for others wait until one of them is unused."""

    def of_pass(self, stage: CallStage) -> int:
        """Return the latent positions that a pass of a stage may hold."""
        return self.decode_tokens or self.batch_tokens if stage is CallStage.DECODE else self.batch_tokens


@dataclass(frozen=True)
class HostOptions:
    device: str = "auto"
    dtype: str | None = None
    allow_pickle: bool = False
    idle_unload_s: float | None = None
    sharing_folder: Path | None = None
    """The folder for results of testing undeclared pipelines; None: each load tests again."""
    compiled_code: Path | None = None
    """The folder where compiled denoisers are kept for the next start."""
    memory_bounds: MemoryBounds = field(default_factory=MemoryBounds)
    threads: int | None = None
    """Threads for passes on a CPU; None: torch's default."""
