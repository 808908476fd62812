"""Waiting for a job's end across restarts of the server, during which the job lives on."""

from __future__ import annotations

import time

from .errors import Refused, Unreachable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
PATIENCE_S = 600.0
"""How long to wait without any answer; a restarting server is away for less."""
SILENCE_S = 60.0
"""A stream that is silent for so long is lost, since comments are sent between a job's events."""
TRANSIENT_FROM = 500
TOO_MANY = 429


class Patience:
    """Pauses between attempts to reach a job: each is longer than the last, until its events arrive again."""

    def __init__(self) -> None:
        self._asked_to_s = 0.0
        self.heard()

    def heard(self) -> None:
        """Start over, since the job's events arrive."""
        self._pause_s = FIRST_PAUSE_S
        self.answered()

    def answered(self) -> None:
        """Note that the server has answered, even if no events arrive."""
        self._answered_at = time.monotonic()

    def bear(self, error: Refused | Unreachable) -> None:
        """Accept a temporary error. Raises it if it is permanent, or has lasted too long."""
        passes = isinstance(error, Unreachable) or error.status == TOO_MANY or (error.status or 0) >= TRANSIENT_FROM
        if not passes or time.monotonic() - self._answered_at > PATIENCE_S:
            raise error
        self._asked_to_s = (error.retry_after_s or 0.0) if isinstance(error, Refused) else 0.0

    def pause_s(self) -> float:
        """Return how long to wait now."""
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        asked_to_s, self._asked_to_s = self._asked_to_s, 0.0
        return max(pause_s, asked_to_s)
