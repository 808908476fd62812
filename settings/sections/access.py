"""What an operator can set about clients; `settings.Settings` has these fields too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from core.caller import Rates

MIN_KEY_CHARS = 16
"""Keys are hashed without salt or stretching, so they must not be guessable."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
"""What keys may be called."""
ADMIN = "admin"
"""The name of the caller who uses JUBAKO_ADMIN_KEY."""


class AccessOptions(BaseModel):
    """Fields of the settings; keys appear in no message and no `repr`."""

    api_keys: Annotated[dict[str, str], NoDecode] = Field(
        default={},
        repr=False,
        description="Keys that clients must send, with their owners' names: alice:KEY,bob:KEY. A key has at least 16 "
        "characters.",
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="A file of hashed keys, as `python -m access new NAME` makes them; read at the start.",
    )
    admin_key: str | None = Field(
        default=None,
        repr=False,
        description="A key that may also load, unload and move models; once it is set, these need an admin's key. At "
        "least 16 characters.",
    )
    metrics_key: str | None = Field(
        default=None,
        repr=False,
        description="The key with which Prometheus reads /metrics, of gateways and of runners by themselves. Without "
        "it, where clients need keys, only an admin's reads them. At least 16 characters.",
    )
    rate_requests_per_min: int | None = Field(
        default=None,
        ge=1,
        description="Requests that one client may make in any 60 seconds; further ones get 429. GET requests do not "
        "count; each request of a batch does. Of the Model Context Protocol, only calls that generate do.",
    )
    rate_megapixels_per_min: float | None = Field(
        default=None,
        ge=0.01,
        description="Megapixels that one client may use in any 60 seconds: all images, frames of videos and tries of "
        "stories that are generated, and all images that are decoded or encoded at other sizes.",
    )
    rate_steps_per_min: int | None = Field(
        default=None,
        ge=1,
        description="Denoising steps that one client may request in any 60 seconds, over all images.",
    )

    @property
    def needs_keys(self) -> bool:
        """Whether every caller needs a key; JUBAKO_ADMIN_KEY alone protects only what needs an admin."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def rates(self) -> Rates:
        """The rates of callers that have none of their own."""
        return Rates(
            requests_per_min=self.rate_requests_per_min,
            megapixels_per_min=self.rate_megapixels_per_min,
            steps_per_min=self.rate_steps_per_min,
        )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.strip().partition(":") for pair in value.split(",") if pair.strip()]
        if len({name for name, _, _ in pairs}) < len(pairs):
            raise ValueError("two keys have one name")
        for name, _, key in pairs:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{name!r} is not the name of a key: letters, digits and ._@- are, 64 at most")
            _check_length(key, f"the key of the entry {name!r}" if key else "an entry without a name or without a key")
        return {name: key for name, _, key in pairs}

    @field_validator("admin_key", "metrics_key")
    @classmethod
    def _check_own_key(cls, value: str | None) -> str | None:
        if value is not None:
            _check_length(value, "the key")
        return value


def _check_length(key: str, what: str) -> None:
    if len(key) < MIN_KEY_CHARS:
        raise ValueError(f"{what} has fewer than {MIN_KEY_CHARS} characters")
