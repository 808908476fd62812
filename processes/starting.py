"""The start of a process: shows an operator's mistake as one line, and imports large libraries faster."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import StartError


@contextmanager
def starting() -> Iterator[None]:
    """End the process with the message of a StartError."""
    try:
        yield
    except StartError as error:
        sys.exit(f"jubako: {error}")


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries with garbage collection off, and exempt their objects from it for good.

    With torch and diffusers that saves an eighth of the time (docs/log.md), and later full collections need not walk
    their 700,000 objects while requests wait.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
