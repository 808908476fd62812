"""What an operator can set about the engine of each model; `settings.Settings` has these fields too."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EngineOptions(BaseModel):
    """Fields of the settings: how much one model's engine takes on."""

    max_running: int = Field(default=64, ge=1, description="Pictures per model that are drawn at the same time.")
    max_queue: int = Field(
        default=256,
        ge=0,
        description="Requests per model that may wait; the next one is answered 503 (busy).",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Latent tokens in one denoiser call, in place of the catalogue's figure for each model.",
    )
    max_loras: int = Field(
        default=16,
        # One request may name so many.
        ge=8,
        description="LoRAs per model that are kept in memory; those least recently used make room for others.",
    )
