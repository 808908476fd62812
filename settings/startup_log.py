"""Logs the settings at startup: those that were set, by which variable, and the defaults of the others."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from settings.variables import HIDDEN, given, is_secret, masked, sections_of

if TYPE_CHECKING:
    from settings import Settings

NOTHING = "none"
log = logging.getLogger("jubako.settings")


def log_settings(settings: Settings) -> None:
    """Log all settings of this process."""
    for line in effective_lines(settings, os.environ):
        log.info("%s", line)


def effective_lines(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """Return a line for each setting that was set, and one with the values of all others. Secrets are hidden."""
    fields = [field for _, group in sections_of(type(settings)) for field in group]
    chosen = [field for field in fields if field in settings.model_fields_set]
    defaults = [f"{field}={_shown(settings, field)}" for field in fields if field not in chosen]
    return [
        f"{len(chosen)} of {len(fields)} settings are set; docs/configuration.md describes all",
        *(f"{field} = {_shown(settings, field)}{_origin(settings, field, environment)}" for field in chosen),
        "by default: " + " ".join(each for each in defaults if not each.endswith(f"={NOTHING}")),
    ]


def _origin(settings: Settings, field: str, environment: Mapping[str, str]) -> str:
    variables = given(field, type(settings).model_fields[field], environment)
    if not variables:
        return ""
    ignored = "".join(f"; {variable} is ignored" for variable in variables[1:])
    return f" ({variables[0]}{ignored})"


def _shown(settings: Settings, field: str) -> str:
    value = getattr(settings, field)
    if is_secret(type(settings).model_fields[field]) and value:
        return HIDDEN
    return as_text(value)


def as_text(value: object) -> str:
    """Write a value as its environment variable would; passwords in addresses are hidden."""
    match value:
        case None:
            return NOTHING
        case bool():
            return str(value).lower()
        case Mapping():
            return ",".join(f"{name}={as_text(each).replace(',', '|')}" for name, each in value.items()) or NOTHING
        case tuple():
            return ",".join(as_text(each) for each in value) or NOTHING
        case _:
            return masked(str(value)) or NOTHING
