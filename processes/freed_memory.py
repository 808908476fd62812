"""Memory that goes back to the system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD = -3
"""glibc's <malloc.h>."""
LARGE_BYTES = 2**20


def return_freed_memory() -> None:
    """Make this process return large blocks when they are freed; other C libraries than glibc are left as they are.

    glibc takes blocks of up to 32 MiB from its heap once some of that size were freed, and a heap shrinks only from its
    end: after a few large images, a process kept more than a gigabyte.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
