"""What an operator can set: environment variables with the prefix `JUBAKO_`, checked before anything starts.

Every process of the Bento imports this and must see the same values, so they come from nothing but
the environment and the file `.env` of the working folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import StartError
from core.validation import mistakes_in
from settings.env_file import read_env_file
from settings.sections.access import AccessOptions
from settings.sections.contracts import ContractOptions
from settings.sections.engine import EngineOptions
from settings.sections.jobs import JobOptions
from settings.sections.models import ModelOptions
from settings.sections.network import NetworkOptions
from settings.sections.requests import RequestOptions
from settings.sections.safety import SafetyOptions
from settings.sections.scaling import ScaleOptions
from settings.sections.storage import StorageOptions
from settings.sections.stories import StoryOptions
from settings.variables import PREFIX, given, is_secret, masked, refuse_unknown, variables_of


class Settings(
    ModelOptions,
    EngineOptions,
    ScaleOptions,
    RequestOptions,
    JobOptions,
    StorageOptions,
    AccessOptions,
    NetworkOptions,
    SafetyOptions,
    StoryOptions,
    ContractOptions,
    BaseSettings,
):
    """Read from the environment; a wrong value stops the start with the variable's name.

    `make configuration` generates docs/configuration.md from these classes, in this order.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        # pydantic's messages would quote keys and passwords.
        hide_input_in_errors=True,
    )

    @property
    def snaps_sizes(self) -> bool:
        """Whether a size that a model does not generate becomes the nearest one."""
        return self.stands_in if self.snap_sizes is None else self.snap_sizes


CLIENTS = ("JUBAKO_CLIENT_URL", "JUBAKO_CLIENT_KEY", "JUBAKO_CLIENT_FOLDER", "JUBAKO_CLIENT_IMAGES")
"""Variables of the Python client, which may run where a server does."""


def refuse_unknown_variables(names: Iterable[str]) -> None:
    """Raise StartError for variables with our prefix that no setting has."""
    fields = Settings.model_fields.items()
    known = [name.upper() for field, info in fields for name in variables_of(field, info)]
    refuse_unknown(names, [*known, *CLIENTS])


@cache
def settings() -> Settings:
    """Return the process's settings, read once. Raises StartError with what is wrong in the environment."""
    read_env_file()
    refuse_unknown_variables(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        mistakes = mistakes_in(error, shown=_shown)
        raise StartError("; ".join(f"{_variable(place)}: {meaning}" for place, meaning in mistakes)) from error


def _shown(place: str, value: Any) -> Any:
    found = _field(place)
    if found is None or is_secret(found[1]):
        return None
    return masked(value) if isinstance(value, str) else value


def _variable(place: str) -> str:
    """Return the variable that gave a wrong value."""
    found = _field(place)
    if found is None:
        return place
    return (given(*found, os.environ) or variables_of(*found))[0]


def _field(place: str) -> tuple[str, FieldInfo] | None:
    """Return the field of a pydantic error, which names the field or the first of its variables."""
    head = place.partition(".")[0]
    for field, info in Settings.model_fields.items():
        if head in (field, variables_of(field, info)[0]):
            return field, info
    return None
