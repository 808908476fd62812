"""What an operator can set about web pages and proxies; `settings.Settings` has these fields too."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

EVERY = "*"
_HOST = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def _split(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


_List = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class NetworkOptions(BaseModel):
    """Fields of the settings: which web pages, names and proxies the server trusts."""

    cors_origins: _List = Field(
        default=(),
        description="Origins of web sites whose pages may use this server (CORS): https://app.example,"
        "http://localhost:5173; or * for every site. Default: only pages of this server itself.",
    )
    allowed_hosts: _List = Field(
        default=(),
        description="Names by which a server without API keys is reached, beside those that need no entry "
        "(docs/access.md): images.example.com,*.example.com; or * for every name.",
    )
    trusted_proxies: _List = Field(
        default=(),
        validation_alias=AliasChoices("JUBAKO_TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"),
        description="Addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto say who the client "
        "is, and whose X-Forwarded-Prefix says under which path they show the server: 127.0.0.1,10.0.0.0/8; or * for "
        "all. From others these headers are ignored.",
    )

    ui: bool = Field(
        default=True,
        description="Whether browsers are shown a page to play with at /ui (docs/page.md). It has a process of its own "
        "that starts when somebody first opens it.",
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parts = urlsplit(each)
            if each != EVERY and not (parts.scheme and parts.netloc and each == f"{parts.scheme}://{parts.netloc}"):
                raise ValueError(f"should be like https://app.example, without a path, and {each!r} is not")
        return tuple(each.lower() for each in value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(each.lower() for each in value)
        for each in hosts:
            if each != EVERY and not _HOST.fullmatch(each):
                raise ValueError(f"should be like images.example.com, without scheme and port, and {each!r} is not")
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if each != EVERY:
                ip_network(each)
        return value
