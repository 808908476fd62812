"""The start of a process: what an operator set wrong is one line on the terminal, and large libraries come sooner."""

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
    """Import large libraries without looking for garbage among what they make, then or ever.

    With torch and diffusers that saves an eighth of the time (docs/log.md), and their 700,000 objects are not
    walked by each full collection while requests wait.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
