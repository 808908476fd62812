"""What glibc's allocator does with memory that is freed; other C libraries are left as they are."""

from __future__ import annotations

import ctypes

# glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGE_BYTES = 2**20
LARGEST_OF_HEAP_BYTES = 2**25
"""glibc maps what is larger, whatever the setting."""
KEPT_BYTES = 2**30
PAD_BYTES = 2**26


def return_freed_memory() -> None:
    """Make this process return large blocks when they are freed.

    glibc takes blocks of up to 32 MiB from its heap once some of that size were freed, and a heap shrinks only from its
    end: after a few large images, a process kept more than a gigabyte.
    """
    _set(M_MMAP_THRESHOLD, LARGE_BYTES)


def keep_freed_memory() -> None:
    """Make this process keep freed blocks for the next ones, until `trim`.

    Each pass on a CPU allocates what the last one freed. Pages that went back meanwhile have to be cleared again.
    """
    _set(M_MMAP_THRESHOLD, LARGEST_OF_HEAP_BYTES)
    _set(M_TRIM_THRESHOLD, KEPT_BYTES)
    _set(M_TOP_PAD, PAD_BYTES)


def trim() -> None:
    """Return what is free now."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
