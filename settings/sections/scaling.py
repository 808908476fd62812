"""What an operator can set about several machines and shutdown; `settings.Settings` has these fields too."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

_ADDRESS = re.compile(r"https?://[^/?#@|]+")


class ScaleOptions(BaseModel):
    """Fields of the settings: runners on other machines, and how a process shuts down."""

    runners: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(
        default={},
        description="Addresses of runners on other machines, by model: "
        "sdxl=http://a:3001|http://b:3001,flux-dev=http://c:3001. No process is started here for these models.",
    )
    runner_key: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="The secret that gateways send to runners on other machines; all of them need the same one.",
    )
    drain_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds that a server has to shut down after SIGTERM; requests in progress get all but the last "
        "5 of them.",
    )

    @field_validator("runners", mode="before")
    @classmethod
    def _split_runners(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
            return {
                model.strip(): tuple(url.strip().rstrip("/") for url in urls.split("|")) for model, _, urls in pairs
            }
        return value

    @field_validator("runners")
    @classmethod
    def _are_addresses(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for model, urls in value.items():
            if not all(_ADDRESS.fullmatch(url) for url in urls):
                raise ValueError(f"should be like model=http://host:port|http://host:port, and is wrong for {model!r}")
        return value
