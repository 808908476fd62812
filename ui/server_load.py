"""How busy the server is, by its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass

IMAGES, QUEUE, BATCH = "jubako_images_total", "jubako_queue_length", "jubako_batch_size"


@dataclass(frozen=True)
class Reading:
    """The metrics at one moment."""

    at_s: float
    images: float
    """Images since the server started."""
    queued: float
    batched: float
    passes: float

    @classmethod
    def of(cls, metrics: str) -> Reading:
        """Parse the answer of `GET /metrics`."""
        batched, passes = _sum(metrics, f"{BATCH}_sum"), _sum(metrics, f"{BATCH}_count")
        return cls(time.time(), _sum(metrics, IMAGES), _sum(metrics, QUEUE), batched, passes)


@dataclass(frozen=True)
class ServerLoad:
    """How busy a server was between two readings."""

    images_per_s: float
    batch_size: float
    """Samples in a pass, on average."""
    queued: float

    @classmethod
    def between(cls, before: Reading, after: Reading) -> ServerLoad:
        """If the server has restarted in between, its counters began again at zero."""
        again = after.passes < before.passes
        images, batched, passes = (
            now - (0 if again else then)
            for now, then in (
                (after.images, before.images),
                (after.batched, before.batched),
                (after.passes, before.passes),
            )
        )
        seconds = max(after.at_s - before.at_s, 0.001)
        return cls(images / seconds, batched / passes if passes else 0.0, after.queued)


def _sum(metrics: str, name: str) -> float:
    """Return the sum of a metric over its labels."""
    lines = (line for line in metrics.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition("}")[2].split()[0]) if "}" in line else float(line.split()[1]) for line in lines)
