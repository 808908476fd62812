"""Generates the tables of docs/configuration.md from the classes that declare the settings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from settings.startup_log import as_text
from settings.variables import is_secret, sections_of, variables_of

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = "| variable | type | default | meaning |\n| --- | --- | --- | --- |\n"
_ABOUT = re.compile(r"What an operator can set about ([^;.]+)")
_NAMES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
_LIMITS = {Ge: ("ge", "≥"), Gt: ("gt", ">"), Le: ("le", "≤"), Lt: ("lt", "<")}


def written(page: str, target: str, text: str) -> str:
    """Return the page with the text between the marks of `make TARGET` replaced."""
    begin, end = f"<!-- `make {target}` writes what follows. -->\n", "<!-- Here it ends. -->\n"
    before, mark, rest = page.partition(begin)
    assert mark, f"the page has no {begin}"
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def tables(settings: type[BaseModel]) -> str:
    """Return one section with a table for each class."""
    return "\n".join(
        f"## {heading_of(group)}\n\n{HEAD}" + "".join(_row(*field) for field in fields.items())
        for group, fields in sections_of(settings)
    )


def heading_of(group: type[BaseModel]) -> str:
    about = _ABOUT.match(sys.modules[group.__module__].__doc__ or "")
    title = about[1] if about else "the server"
    return title[0].upper() + title[1:]


def _row(field: str, info: FieldInfo) -> str:
    first, *others = (f"`{variable}`" for variable in variables_of(field, info))
    names = "<br>".join([first, *(f"or {other}" for other in others)])
    limits = "".join(f", {limit}" for limit in _limits(info))
    secret = " **Secret**: never shown." if is_secret(info) else ""
    cells = (names, _type_of(info.annotation) + limits, _default_of(info), f"{_plain(info.description or '')}{secret}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _plain(text: str) -> str:
    """Keep Markdown from taking `<model id>` for a tag and `AWS_*` for emphasis, outside of code."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2]]
    return "`".join(parts)


def _type_of(annotation: Any) -> str:
    """Describe a type as operators write its values: lists and mappings are text separated by commas."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_type_of(each) for each in arguments if each is not NoneType)
    if origin is tuple:
        return "list, with commas"
    if origin is dict:
        return "pairs, with commas"
    return _NAMES[annotation]


def _limits(info: FieldInfo) -> Iterator[str]:
    for rule in info.metadata:
        match rule:
            case Ge() | Gt() | Le() | Lt():
                attribute, sign = _LIMITS[type(rule)]
                yield f"{sign} {_number(getattr(rule, attribute))}"
            case MinLen(least):
                yield f"at least {least}" + (" characters" if _type_of(info.annotation) == "text" else "")
            case MaxLen(most):
                yield f"at most {most}" + (" characters" if _type_of(info.annotation) == "text" else "")
            case _ if pattern := getattr(rule, "pattern", None):
                yield f"like `{pattern}`"


def _default_of(info: FieldInfo) -> str:
    if info.default in (None, "", {}, ()):
        return "none"
    return f"`{_number(info.default)}`" if isinstance(info.default, float) else f"`{as_text(info.default)}`"


def _number(value: float) -> str:
    return f"{value:.10g}"
