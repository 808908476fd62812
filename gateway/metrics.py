"""The gateway's metrics; runners have their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from core.errors import JubakoError

REQUESTS = Counter(
    "jubako_http_requests_total",
    "Requests that generate, including refused ones",
    labelnames=["model", "task", "outcome"],
)
SECONDS = Histogram(
    "jubako_http_request_seconds",
    "Seconds from the request to the end of its answer, for requests that were generated",
    labelnames=["model", "task"],
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600),
)


@dataclass
class RequestLabels:
    """Labels of one request; they stay empty for a request that is refused early."""

    model: str = ""
    task: str = ""


@contextmanager
def measured() -> Iterator[RequestLabels]:
    """Count one request, by how the block ends; the block sets the labels."""
    measure, started, outcome = RequestLabels(), time.perf_counter(), "error"
    try:
        yield measure
        outcome = "done"
        SECONDS.labels(model=measure.model, task=measure.task).observe(time.perf_counter() - started)
    except JubakoError as error:
        outcome = error.code
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "cancelled"
        raise
    finally:
        REQUESTS.labels(model=measure.model, task=measure.task, outcome=outcome).inc()
