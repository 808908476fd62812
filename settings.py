"""What an operator can set: environment variables with the prefix `JUBAKO_`, checked before anything starts.

Every process of the Bento imports this and must see the same values, so nothing here depends on
anything but the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "JUBAKO_"
DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"


class Settings(BaseSettings):
    """Read from the environment; a wrong value stops the start with the variable's name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("miniature",),
        min_length=1,
        description="Catalogue ids to serve, separated by commas. The first is the default of requests.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="A file with models of your own, in the form of models/checkpoints/*.yaml. An entry replaces the "
        "shipped one of the same id; relative paths start at the file's own folder.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        description="Where models run: auto, cpu, mps, cuda, cuda:N, xpu or xpu:N. auto takes the first accelerator.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None,
        description="Number format of all models on an accelerator; a CPU always uses float32.",
    )

    load: Literal["start", "demand"] = Field(
        default="start",
        description="When models are loaded: at the start, as many as fit into the memory budget, or on first use.",
    )
    idle_unload_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a request after which a model is unloaded; the next request loads it again.",
    )
    memory_budget_gib: float | None = Field(
        default=None,
        gt=0,
        description="Memory that all loaded models together may take on one device, by the catalogue's figures. When "
        "it is short, those least recently used are unloaded. Default: the device's memory.",
    )
    manage: bool = Field(
        default=True,
        description="Whether callers may load and unload models, and move them to other devices.",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Whether checkpoints may be pickles (.bin, .ckpt, .pt), which can run any code when they are read.",
    )

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
    request_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds after which a request is given up; none may ask for a longer deadline.",
    )

    max_upload_bytes: int = Field(
        default=32 * 2**20, ge=1024, description="Size of a whole request body; larger ones are answered 413."
    )
    max_image_px: int = Field(
        default=64_000_000,
        ge=64,
        description="Width times height of an uploaded image, read from its header before it is decoded.",
    )
    max_prompt_chars: int = Field(
        # Both prompts, in UTF-16, must fit into the 64 KB that JPEG has for its EXIF block.
        default=2000,
        ge=1,
        le=7000,
        description="Characters in a prompt and, separately, in a negative prompt.",
    )
    max_num_images: int = Field(default=8, ge=1, description="Pictures that one request may ask for.")

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        return value


def refuse_unknown_variables(names: Iterable[str]) -> None:
    """Raise ValueError for variables that carry our prefix and mean nothing.

    A misspelt limit would otherwise be silently ignored.
    """
    known = [f"{PREFIX}{field}".upper() for field in Settings.model_fields]
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise ValueError("unknown settings: " + ", ".join(_with_suggestion(name, known) for name in unknown))


def _with_suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"{name} (did you mean {close[0]}?)" if close else name


@cache
def settings() -> Settings:
    """Return the process's settings, read once."""
    refuse_unknown_variables(os.environ)
    return Settings()
