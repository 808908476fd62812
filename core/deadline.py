"""How long a caller waits for a request, wherever it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, Self, TypeVar

from core.errors import DeadlineExceeded

UNNOTICED_S = 0.1
"""A shorter wait leaves a request as it is, so that errors quote the seconds that its caller asked for."""


class Timed(Protocol):
    """A request as pydantic models it."""

    @property
    def deadline_s(self) -> float | None: ...

    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


R = TypeVar("R", bound=Timed)


@dataclass(frozen=True)
class Deadline:
    """The end of the time that a caller gives, on `time.monotonic`'s clock; None stands for all the time there is."""

    seconds: float | None
    started_at_s: float = field(default_factory=time.monotonic)

    @property
    def at_s(self) -> float:
        return inf if self.seconds is None else self.started_at_s + self.seconds

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def passed(self) -> bool:
        return self.at_s <= time.monotonic()

    def exceeded(self, when: str = "") -> DeadlineExceeded:
        """Return the error of a deadline that passed; `when` goes on: "while the model was loading"."""
        assert self.seconds is not None, "without an end it cannot pass"
        return DeadlineExceeded(f"deadline_s: {self.seconds:g} s have passed{when and f' {when}'}")

    @asynccontextmanager
    async def limiting(self, when: str) -> AsyncIterator[None]:
        """End what the block awaits once the deadline passes. Raises DeadlineExceeded; `when` as above."""
        try:
            async with asyncio.timeout(self.left_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.exceeded(when) from error

    def remaining(self, request: R) -> R:
        """Return a request with what is left of its deadline, for the next to handle it. Raises DeadlineExceeded."""
        if self.passed:
            raise self.exceeded()
        if self.seconds is None or time.monotonic() - self.started_at_s < UNNOTICED_S:
            return request
        # A request's deadline is more than zero.
        left_s = max(0.001, round(self.at_s - time.monotonic(), 3))
        return request.model_copy(update={"deadline_s": left_s})
