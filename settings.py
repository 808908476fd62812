"""What an operator can set: environment variables with the prefix `JUBAKO_`, checked before anything starts.

Every process of the Bento imports this and must see the same values, so nothing here depends on
anything but the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from functools import cache

from pydantic import AliasChoices, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from access.options import AccessOptions
from api.options import ContractOptions
from api.request_options import RequestOptions
from errors import StartError
from jobs.options import JobOptions
from models.mistakes import mistakes_in
from models.options import ModelOptions
from runners.options import EngineOptions
from runners.scale_options import ScaleOptions
from safety.options import SafetyOptions
from storage.options import StorageOptions
from storyboard.options import StoryOptions

PREFIX = "JUBAKO_"


class Settings(
    ModelOptions,
    EngineOptions,
    ScaleOptions,
    RequestOptions,
    JobOptions,
    StorageOptions,
    AccessOptions,
    SafetyOptions,
    StoryOptions,
    ContractOptions,
    BaseSettings,
):
    """Read from the environment; a wrong value stops the start with the variable's name.

    docs/configuration.md is made of these classes by `make configuration`, in this order.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)


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
