"""How much work a desk accepts, and how long it keeps results."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from jobs.queue import QueueSettings


@dataclass(frozen=True)
class DeskSettings:
    queue: QueueSettings
    max_waiting: int
    """Limit of pending jobs of one priority."""
    max_per_caller: int
    """Limit of one caller's jobs that have not ended."""
    max_results_per_owner: int
    """Limit of one owner's stored results."""
    max_runners_lost: int
    reuse_results: bool
    """Whether a request with a seed may be answered with the results of an equal one."""
    result_ttl: timedelta | None
    """Age at which local results are deleted; None keeps them."""
    webhook_secret: str | None
    allow_private_webhooks: bool
