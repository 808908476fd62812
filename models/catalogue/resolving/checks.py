"""Checks that say what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from core.errors import InvalidRequest

Number = TypeVar("Number", int, float)


def within(field: str, value: Number, lowest: float, highest: float) -> Number:
    """Return a number, or raise InvalidRequest."""
    if not lowest <= value <= highest:
        raise InvalidRequest(field, f"{value} is not between {lowest} and {highest}")
    return value


def at_most(field: str, value: Number, highest: float) -> Number:
    """Return a number that the server's own limit allows, or raise InvalidRequest."""
    if value > highest:
        raise InvalidRequest(field, f"{value} is more than {highest}, the most this server allows")
    return value


def known(field: str, name: str, names: Collection[str]) -> str:
    """Return a name that is among `names`, or raise InvalidRequest."""
    if name not in names:
        raise InvalidRequest(field, f"{name!r} is unknown; known: {', '.join(sorted(names)) or 'none'}")
    return name
