"""How long a caller gives a request, wherever in the server it waits."""

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
"""After a shorter wait the deadline is passed on unchanged, so that errors quote the seconds the caller asked for."""


class Timed(Protocol):
    """A pydantic model with a deadline."""

    @property
    def deadline_s(self) -> float | None: ...

    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


R = TypeVar("R", bound=Timed)


@dataclass(frozen=True)
class Deadline:
    """When a caller's time is up, by `time.monotonic`; `seconds` None means never."""

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
        """Return the error for a missed deadline; `when` completes its message: "while the model was loading"."""
        assert self.seconds is not None, "a deadline without a limit cannot pass"
        return DeadlineExceeded(f"deadline_s: {self.seconds:g} s have passed{when and f' {when}'}")

    @asynccontextmanager
    async def limiting(self, when: str) -> AsyncIterator[None]:
        """Cancel what the block awaits once the deadline passes. Raises DeadlineExceeded; `when` as in `exceeded`."""
        try:
            async with asyncio.timeout(self.left_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.exceeded(when) from error

    def remaining(self, request: R) -> R:
        """Return the request with the seconds that remain as its deadline, to pass on. Raises DeadlineExceeded."""
        if self.passed:
            raise self.exceeded()
        if self.seconds is None or time.monotonic() - self.started_at_s < UNNOTICED_S:
            return request
        # A request's deadline must be positive.
        left_s = max(0.001, round(self.at_s - time.monotonic(), 3))
        return request.model_copy(update={"deadline_s": left_s})
