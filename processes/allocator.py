"""Settings of glibc's allocator for freed memory; with other C libraries they do nothing."""

from __future__ import annotations

import ctypes

# glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGE_BYTES = 2**20
LARGEST_OF_HEAP_BYTES = 2**25
"""Some versions of glibc refuse a larger threshold."""
KEPT_BYTES = 2**30
PAD_BYTES = 2**26


def return_freed_memory() -> None:
    """Make this process return large blocks to the system when they are freed.

    Once a few have been freed, glibc takes blocks of up to 32 MiB from its heap, which shrinks only from its end: after
    a few large images, a process kept more than a gigabyte.
    """
    _set(M_MMAP_THRESHOLD, LARGE_BYTES)


def keep_freed_memory() -> None:
    """Make this process keep freed blocks for reuse, until `trim`.

    Each pass on a CPU allocates what the last one freed; pages returned in between would have to be cleared again.
    """
    _set(M_MMAP_THRESHOLD, LARGEST_OF_HEAP_BYTES)
    _set(M_TRIM_THRESHOLD, KEPT_BYTES)
    _set(M_TOP_PAD, PAD_BYTES)


def trim() -> None:
    """Return all free memory to the system."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
