"""The sizes that passes are rounded up to, and those that denoisers have been compiled for."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def bucket_of(size: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that holds `size`, or else the next multiple of the largest."""
    largest = max(buckets)
    return min((bucket for bucket in buckets if bucket >= size), default=-(-size // largest) * largest)


class CompiledShapes:
    """The shapes of the passes that a model's denoisers are compiled for.

    Compiling takes seconds to minutes, during which the engine stands still. So shapes are recorded while the model is
    warmed up; once that is `complete`, passes of other shapes run uncompiled.
    """

    def __init__(self) -> None:
        self.complete = False
        self._known: set[Hashable] = set()

    def admit(self, shape: Hashable) -> bool:
        """Whether a pass of this shape may run compiled."""
        if not self.complete:
            self._known.add(shape)
        return shape in self._known
