"""Validation of data that people write by hand, with errors in plainer words than pydantic's."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$"
"""What models, LoRAs and the like may be called."""
_MEANING = {
    "missing": "is missing",
    "model_type": "should be a mapping of fields",
    "mapping_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "tuple_type": "should be a list",
    "too_short": "has too few entries",
    "too_long": "has too many entries",
    "finite_number": "should be a finite number",
}
"""By pydantic's error type; all other types keep pydantic's own message."""
_PATTERNS = {NAME_PATTERN: "may have a-z, 0-9 and, between them, '.', '_' and '-'"}
_KEY = "[key]"
"""How pydantic marks an error in a mapping's key instead of its value."""


class Strict(BaseModel):
    """Data in which unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def refuse(mistakes: Iterable[str]) -> None:
    """Raise ValueError listing each distinct mistake once, if there are any."""
    if text := "; ".join(dict.fromkeys(mistakes)):
        raise ValueError(text)


def mistakes_text(error: ValidationError, known_fields: Collection[str] = ()) -> str:
    """Return every mistake once, as `field: what is wrong`; for unknown fields, suggest one of `known_fields`."""
    return "; ".join(": ".join(filter(None, mistake)) for mistake in mistakes_in(error, known_fields))


def mistakes_in(
    error: ValidationError,
    known_fields: Collection[str] = (),
    shown: Callable[[str, Any], Any] = lambda _, value: value,
) -> list[tuple[str, str]]:
    """Return each mistake once, as field and what is wrong; the field is empty for a mistake in the whole.

    `shown` returns what may be shown of a field's value, or None.
    """
    errors = [{**each, "input": shown(_place(each), each["input"])} for each in _once(error.errors())]
    return [(_place(each), _meaning(each, known_fields)) for each in errors]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a question about the closest of `names`, to append to a message; empty if none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _once(errors: Iterable[Any]) -> list[Any]:
    """Leave out errors that tasks inherited: `tasks.inpaint.defaults.width` if `defaults.width` is wrong too."""
    errors = list(errors)
    places = {each["loc"] for each in errors}
    return [each for each in errors if not (each["loc"][:1] == ("tasks",) and each["loc"][2:] in places)]


def _place(error: Any) -> str:
    return ".".join(str(step) for step in error["loc"] if step != _KEY)


def _meaning(error: Any, known_fields: Collection[str]) -> str:
    kind, value = error["type"], error["input"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return (
            "does not belong here"
            if name in known_fields
            else "is not a known field" + did_you_mean(name, known_fields)
        )
    message = _MEANING.get(kind) or _pattern(error) or error["msg"].removeprefix("Input ").split(", unable")[0]
    shown = isinstance(value, str | int | float) and kind != "missing"
    return f"{message}, got {value!r}" if shown else message


def _pattern(error: Any) -> str | None:
    pattern = error.get("ctx", {}).get("pattern")
    return None if pattern is None else _PATTERNS.get(pattern, f"should match {pattern}")
