"""Components that are not loaded, since no request uses them."""

from __future__ import annotations


def nothing(_folder: str) -> None:
    """Return None in place of a component that is not loaded."""
