"""What an operator can set about the engine of each model; `settings.Settings` has these fields too."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EngineOptions(BaseModel):
    """Fields of the settings: how much one model's engine handles."""

    max_running: int = Field(default=64, ge=1, description="Images per model that are generated at the same time.")
    max_queue: int = Field(
        default=256,
        ge=0,
        description="Requests per model that may wait; further ones get 503 (busy).",
    )
    fit: float | None = Field(
        default=None,
        gt=0,
        description="GiB of a device's memory that each model is to fit into, with the options of `memory` that cost "
        "it the least speed; of models whose needs have been counted (docs/models.md).",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Latent tokens in one denoiser call, instead of the catalogue's value for each model.",
    )
    max_loras: int = Field(
        default=16,
        # At least as many as one request may name.
        ge=8,
        description="LoRAs per model that are kept in memory; the least recently used make room for others.",
    )
