"""Components that a pipeline can do without, since no request asks for what they do."""

from __future__ import annotations


def nothing(_folder: str) -> None:
    """Stand for a component that is not loaded."""
