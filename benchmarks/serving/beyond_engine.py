"""The time that a 512x512 image takes beyond the engine: HTTP, queueing, transfer between processes, PNG encoding.

The embedded model generates with one denoising step, one request at a time. The figure is the client's latency less the
engine's running time as reported by the runner.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.client import Client
from benchmarks.measured_model import copies_of_the_miniature
from benchmarks.servers import JUBAKO, serving
from benchmarks.workloads import PROMPTS, WorkloadRequest
from core.generation.request import Task

SIDE_PX = 512
MODEL = "large"
ENGINE_SECONDS = "jubako_run_seconds_sum"
_LIMITS = {"min_px": 64, "max_px": SIDE_PX, "max_pixels": SIDE_PX**2}


async def beyond_engine_ms(environment: Mapping[str, str], requests: int) -> float:
    """Return the median over several requests to a separate server."""
    catalogue = copies_of_the_miniature([MODEL], _LIMITS)
    served = {**environment, "JUBAKO_MODELS": MODEL, "JUBAKO_CATALOGUE": str(catalogue)}
    async with serving(JUBAKO, served, (128, 128)) as client:
        return median([await _spent_ms(client, seed) for seed in range(requests)])


async def _spent_ms(client: Client, seed: int) -> float:
    size: dict[str, Any] = {"width": SIDE_PX, "height": SIDE_PX}
    before_s = await _engine_s(client)
    started_s = time.perf_counter()
    sample = await client.draw(WorkloadRequest(Task.TEXT_TO_IMAGE, 1, PROMPTS[seed % len(PROMPTS)], seed, size))
    waited_s = time.perf_counter() - started_s
    if sample.error:
        raise RuntimeError(f"a {SIDE_PX}x{SIDE_PX} image failed: {sample.error}")
    return 1000 * (waited_s - (await _engine_s(client) - before_s))


async def _engine_s(client: Client) -> float:
    """Return the seconds that requests have run in the engine so far."""
    metrics = await client.text("/metrics")
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(ENGINE_SECONDS))
