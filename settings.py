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

from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from access.options import AccessOptions
from api.options import ContractOptions
from errors import StartError
from jobs.options import JobOptions
from models.mistakes import mistakes_in
from safety.options import SafetyOptions
from storage.locations import location_url
from storyboard.options import StoryOptions

PREFIX = "JUBAKO_"
DEFAULT_FOLDER = "~/.local/share/jubako"
"""Outside of the Bento, whose folder changes with every version."""
_LOADS = {"true": "start", "1": "start", "false": "demand", "0": "demand"}
DEVICE_PATTERN = r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"


class Settings(JobOptions, AccessOptions, SafetyOptions, ContractOptions, StoryOptions, BaseSettings):
    """Read from the environment; a wrong value stops the start with the variable's name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("miniature",),
        min_length=1,
        validation_alias=AliasChoices("JUBAKO_MODELS", "DIFFUSER_MODEL_ID"),
        description="Catalogue ids, or the hub's repositories of catalogue entries, to serve, separated by commas. The "
        "first is the default of requests.",
    )
    aliases: Annotated[dict[str, str], NoDecode] = Field(
        default={},
        description="Names that callers may use for served models: dall-e-3=sdxl,gpt-image-1=flux-dev.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="A file with models of your own, in the form of models/checkpoints/*.yaml. An entry replaces the "
        "shipped one of the same id; relative paths start at the file's own folder.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        validation_alias=AliasChoices("JUBAKO_DEVICE", "DIFFUSER_DEVICE"),
        description="Where models run: auto, cpu, mps, cuda, cuda:N, xpu or xpu:N. auto takes the first accelerator.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None,
        validation_alias=AliasChoices("JUBAKO_DTYPE", "DIFFUSER_TORCH_DTYPE"),
        description="Number format of all models on an accelerator; a CPU always uses float32.",
    )

    load: Literal["start", "demand"] = Field(
        default="start",
        validation_alias=AliasChoices("JUBAKO_LOAD", "DIFFUSER_ENABLE_WARMUP"),
        description="When models are loaded and warmed up: at the start, as many as fit into the memory budget, or on "
        "first use. true and false, as DIFFUSER_ENABLE_WARMUP has them, are start and demand.",
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
    max_loras: int = Field(
        default=16,
        # One request may name so many.
        ge=8,
        description="LoRAs per model that are kept in memory; those least recently used make room for others.",
    )
    lora_folder: Path | None = Field(
        default=None,
        description="A folder of your own LoRAs, looked through at the start: FOLDER/<model id>/<name>.safetensors.",
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

    public_url: str | None = Field(
        default=None,
        pattern="^https?://[^/]+.*[^/]$",
        description="This server's address as callers know it, for links to results; default: as each request says.",
    )
    storage: str | None = Field(
        default=None,
        description="Where results of jobs are kept: a folder, s3://bucket/folder, gs://bucket/folder or "
        "az://container/folder; credentials come from the cloud's own variables (AWS_*, GOOGLE_*, AZURE_STORAGE_*). "
        "Default: the bucket in S3_BUCKET_NAME if there is one, else ~/.local/share/jubako.",
    )
    s3_bucket_name: str | None = Field(
        default=None, validation_alias="S3_BUCKET_NAME", description="Short for JUBAKO_STORAGE=s3://..."
    )
    storage_urls: Literal["presigned", "public"] = Field(
        default="presigned",
        description="Addresses of results in a cloud: signed ones that expire, or the plain ones of a public bucket.",
    )
    storage_public_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="Address at which a CDN or web server shows what is kept at JUBAKO_STORAGE; results then have "
        "addresses that begin with it, instead of the cloud's or this server's.",
    )
    url_ttl_s: float = Field(
        default=86_400,
        ge=1,
        # The longest that Amazon and Google sign for.
        le=7 * 86_400,
        description="Seconds for which a signed address works.",
    )
    result_ttl_s: float = Field(
        default=7 * 86_400,
        gt=0,
        description="Seconds after which results in a local folder are deleted. Buckets have rules of their own.",
    )
    storage_timeout_s: float = Field(
        default=60.0,
        gt=0,
        # Retries, which take half of it, must end before the signatures of requests expire (5 minutes).
        le=600,
        description="Seconds that reading or writing one file may take, retries included.",
    )

    @property
    def storage_location(self) -> str:
        """Where results are kept, as a URL."""
        if self.storage is not None:
            return self.storage
        return location_url(f"s3://{self.s3_bucket_name}" if self.s3_bucket_name else DEFAULT_FOLDER)

    @field_validator("storage")
    @classmethod
    def _check_storage(cls, value: str | None) -> str | None:
        return None if value is None else location_url(value)

    @field_validator("storage_public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return None if value is None else value.rstrip("/")

    @field_validator("aliases", mode="before")
    @classmethod
    def _split_aliases(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
            return {alias.strip(): model.strip() for alias, _, model in pairs}
        return value

    @field_validator("load", mode="before")
    @classmethod
    def _from_warmup(cls, value: object) -> object:
        return _LOADS.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        return value


def refuse_unknown_variables(names: Iterable[str]) -> None:
    """Raise StartError for variables that carry our prefix and mean nothing.

    A misspelt limit would otherwise be silently ignored.
    """
    known = [name.upper() for field, info in Settings.model_fields.items() for name in _variables(field, info)]
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    if unknown:
        raise StartError("unknown settings: " + ", ".join(_with_suggestion(name, known) for name in unknown))


def _variables(field: str, info: FieldInfo) -> list[str]:
    """Return the variables that set a field: those it names itself replace the one with our prefix."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    return [f"{PREFIX}{field}" if alias is None else str(alias)]


def _with_suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1)
    return f"{name} (did you mean {close[0]}?)" if close else name


@cache
def settings() -> Settings:
    """Return the process's settings, read once. Raises StartError with what is wrong in the environment."""
    refuse_unknown_variables(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(field)}: {meaning}" for field, meaning in mistakes_in(error))
        raise StartError(wrong) from error


def _variable(field: str) -> str:
    """Aliases are variables as they stand."""
    return field if field.isupper() else f"{PREFIX}{field}".upper()
