"""How many denoising steps a request lets the engine predict instead of computing them."""

from __future__ import annotations

from enum import StrEnum


class StepCache(StrEnum):
    """The modes that callers choose from; `docs/step-cache.md` says what each costs and saves."""

    OFF = "off"
    QUALITY = "quality"
    FAST = "fast"
    AUTO = "auto"
    """Off while the server keeps up, `quality` while requests wait, `fast` where a deadline would be missed."""
