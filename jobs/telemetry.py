"""Jobs in the log, in traces and in `/metrics`: a line and a span for each change of state, and counts."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

from core.generation.request import Priority
from jobs.job import Job, JobState
from jobs.ledger.ledger import Ledger

log = logging.getLogger("jubako.jobs")
tracer = trace.get_tracer("jubako.jobs")

_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)

SECONDS = Histogram(
    "jubako_job_seconds",
    "Seconds from a job's acceptance to its end",
    labelnames=["model", "task", "outcome"],
    buckets=_BUCKETS,
)
WAITED = Histogram(
    "jubako_job_wait_seconds",
    "Seconds from a job's acceptance to the start of its first attempt",
    labelnames=["priority"],
    buckets=_BUCKETS,
)
ATTEMPTS = Counter("jubako_job_attempts_total", "Attempts begun; more than jobs after crashes", labelnames=["model"])
DEPTH = Gauge("jubako_jobs_waiting", "Jobs that no worker has begun", labelnames=["priority"], multiprocess_mode="max")
OLDEST = Gauge("jubako_oldest_job_seconds", "Age of the oldest job that has not ended", multiprocess_mode="max")
IN_HAND = Gauge(
    "jubako_jobs_in_hand",
    "Jobs that this replica has begun and not ended: they generate, or wait for their model",
    labelnames=["model"],
    # A process that was killed leaves its value behind; the next one's replaces it.
    multiprocess_mode="mostrecent",
)
WEBHOOKS = Counter("jubako_webhooks_total", "Attempts to notify webhooks", labelnames=["outcome"])

_in_hand: Tally[str] = Tally()


@contextmanager
def in_hand(model: str) -> Iterator[None]:
    """Count a job of a model for as long as the block runs."""
    _in_hand[model] += 1
    IN_HAND.labels(model=model).set(_in_hand[model])
    try:
        yield
    finally:
        _in_hand[model] -= 1
        IN_HAND.labels(model=model).set(_in_hand[model])


def changed(job: Job) -> None:
    """Log, trace and count that a job has entered its current state."""
    model, task = job.model, job.task
    now = datetime.now(UTC)
    with tracer.start_as_current_span(f"job {job.state}") as span:
        for name, value in {"id": job.id, "model": model, "task": task, "attempts": str(job.attempts)}.items():
            span.set_attribute(f"job.{name}", value)
    why = f": {job.error}" if job.error else ""
    log.info("job %s: %s, %s %s, attempt %d%s", job.id, job.state, model, task, job.attempts, why)
    if job.state is JobState.PROCESSING:
        ATTEMPTS.labels(model=model).inc()
        if job.attempts == 1:
            WAITED.labels(priority=job.priority.name.lower()).observe((now - job.created_at).total_seconds())
    if job.state.final:
        SECONDS.labels(model=model, task=task, outcome=job.state).observe((now - job.created_at).total_seconds())


async def measure_queue(ledger: Ledger) -> None:
    """Set the gauges. Raises LedgerUnavailable."""
    for priority in Priority:
        DEPTH.labels(priority=priority.name.lower()).set(await ledger.waiting(priority))
    oldest = await ledger.oldest()
    OLDEST.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
