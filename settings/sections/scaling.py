"""What an operator can set about several machines and shutdown; `settings.Settings` has these fields too."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PositiveInt, field_validator
from pydantic_settings import NoDecode

_ADDRESS = re.compile(r"https?://[^/?#@|]+")


class ScaleOptions(BaseModel):
    """Fields of the settings: runners on other machines, and how a process shuts down."""

    runners: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(
        default={},
        description="Addresses of runners on other machines, by model: "
        "sdxl=http://a:3001|http://b:3001,flux-dev=http://c:3001. No process is started here for these models.",
    )
    replicas: Annotated[dict[str, PositiveInt | Literal["auto"]], NoDecode] = Field(
        default={},
        description="Runner processes on this machine by model, as sdxl:4,flux-dev:2; each is placed by free memory, "
        "and requests go to the one that will finish them first. auto, also as sdxl:auto, is one on each card, or each "
        "part of the cores, that has room. Default: one.",
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

    @field_validator("replicas", mode="before")
    @classmethod
    def _split_replicas(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = [pair.strip().rpartition(":") for pair in value.split(",") if pair.strip()]
            return {model.strip() or "*": count.strip() for model, _, count in pairs}
        return value

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
