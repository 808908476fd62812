"""How a job's end is waited for although the server goes away in between: it restarts, and the job goes on."""

from __future__ import annotations

import time

from .errors import Refused, Unreachable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
PATIENCE_S = 600.0
"""Without any answer; a server that restarts is away for less."""
SILENCE_S = 60.0
"""A job's events have comments in between, so a stream that is silent for so long is lost."""
TRANSIENT_FROM = 500
TOO_MANY = 429


class Patience:
    """Pauses between two attempts to hear of a job: each longer than the last, until its events are heard again."""

    def __init__(self) -> None:
        self._asked_to_s = 0.0
        self.heard()

    def heard(self) -> None:
        """Start over: the job's events come."""
        self._pause_s = FIRST_PAUSE_S
        self.answered()

    def answered(self) -> None:
        """Note that the server is there, even if its events are not."""
        self._answered_at = time.monotonic()

    def bear(self, error: Refused | Unreachable) -> None:
        """Go on in spite of an error. Raises it if it is not one that passes, or if it has lasted too long."""
        passes = isinstance(error, Unreachable) or error.status == TOO_MANY or (error.status or 0) >= TRANSIENT_FROM
        if not passes or time.monotonic() - self._answered_at > PATIENCE_S:
            raise error
        self._asked_to_s = (error.retry_after_s or 0.0) if isinstance(error, Refused) else 0.0

    def pause_s(self) -> float:
        """Return how long to wait now."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        asked_to_s, self._asked_to_s = self._asked_to_s, 0.0
        return max(pause_s, asked_to_s)
