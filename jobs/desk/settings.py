"""How much work a desk takes on, and how long it keeps what it made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from jobs.queue import QueueSettings


@dataclass(frozen=True)
class DeskSettings:
    queue: QueueSettings
    max_waiting: int
    """Pending jobs of one class."""
    max_per_caller: int
    """Jobs of one caller that have not ended."""
    max_results_per_owner: int
    """Stored results of one owner."""
    max_runners_lost: int
    reuse_results: bool
    """Whether a request with a given seed is answered with the results of an equal one."""
    result_ttl: timedelta | None
    """Age at which local results are deleted; None keeps them."""
    webhook_secret: str | None
    allow_private_webhooks: bool
