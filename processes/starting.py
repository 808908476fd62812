"""The start of a process: what an operator set wrong is one line on the terminal, and no traceback."""

from __future__ import annotations

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
