"""What a caller wants done later, and how they follow it."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.job import GENERATION
from jobs.kinds import JobRequest


@dataclass(frozen=True)
class Order:
    """A request that becomes a job."""

    request: JobRequest
    output_format: str
    kind: str = GENERATION
    quality: int = 90
    caller: str = ""
    owner: str = ""
    base_url: str = ""
    webhook_url: str | None = None
    webhook_shape: str = ""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    """What requests with the same key must have in common: method, path and body."""
    batch_id: str | None = None
    keeps_inputs: bool = False
    """Whether its input images are kept after it has ended, for contracts that can repeat a job."""
    remixed_from: str | None = None
    """The job from whose result the request starts."""
    repeatable: bool = False
    """Whether the caller gave the seed, so that an equal request's earlier result will do."""
