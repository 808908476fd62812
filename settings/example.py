""".env.example: every setting with its default, to be copied to `.env` and edited."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from settings.configuration_page import heading_of
from settings.startup_log import NOTHING, as_text
from settings.variables import is_secret, sections_of, variables_of

EXAMPLE = Path(__file__).parents[1] / ".env.example"
WIDTH = 110
HEAD = """\
# `cp .env.example .env`, then remove the # before what you set: the server reads .env in its working folder.
# Made by `make configuration`; docs/configuration.md says more, also of what libraries read.

# Read by libraries
# HF_TOKEN=
# AWS_ACCESS_KEY_ID=
# AWS_SECRET_ACCESS_KEY=
# AWS_REGION=
"""


def example(settings: type[BaseModel]) -> str:
    """Return the file's text."""
    return HEAD + "".join(line + "\n" for line in _lines(settings))


def _lines(settings: type[BaseModel]) -> Iterator[str]:
    for group, fields in sections_of(settings):
        yield f"\n# {heading_of(group)}"
        for field in fields.items():
            yield from _field_lines(*field)


def _field_lines(field: str, info: FieldInfo) -> Iterator[str]:
    variable, *others = variables_of(field, info)
    also = f" Also {', '.join(others)}." if others else ""
    text = f"{info.description or ''}{also}"
    yield from textwrap.wrap(text, WIDTH, initial_indent="\n# ", subsequent_indent="# ", break_on_hyphens=False)
    shown = "" if is_secret(info) else as_text(info.default)
    yield f"# {variable}={'' if shown == NOTHING else shown}"
