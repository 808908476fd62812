"""What an operator can set about several machines and orderly ends; `settings.Settings` has these fields too."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field, field_validator
from pydantic_settings import NoDecode

_ADDRESS = re.compile(r"https?://[^/?#@|]+")


class ScaleOptions(BaseModel):
    """Fields of the settings: runners on other machines, and what happens when a process is told to stop."""

    runners: Annotated[dict[str, tuple[str, ...]], NoDecode] = Field(
        default={},
        description="Where the runners of served models are, when on other machines: "
        "sdxl=http://a:3001|http://b:3001,flux-dev=http://c:3001. No process is started here for these models.",
    )
    runner_key: str | None = Field(
        default=None,
        repr=False,
        min_length=16,
        description="The secret that gateways show to runners on other machines; all of them need the same.",
    )
    drain_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds that a server has to end once it is told to (SIGTERM); what it has in hand gets all but "
        "the last 5 of them.",
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
