"""Figures that are set, and not only counted up."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import REGISTRY

from jobs.telemetry import in_hand
from runners.host.gauges import watch
from runners.state import RunnerState


def test_jobs_in_hand_are_those_of_now() -> None:
    def count() -> float | None:
        return REGISTRY.get_sample_value("jubako_jobs_in_hand", {"model": "counted"})

    with in_hand("counted"):
        with in_hand("counted"):
            assert count() == 2
        assert count() == 1
    assert count() == 0


async def test_memory_of_a_model_is_that_of_its_device() -> None:
    def figure(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, {"model": "watched", "replica": "1", **labels})

    state: dict[str, Any] = {"state": "ready", "device": "cuda:0", "memory_gib": 2.5}
    await _watch_once(state)
    assert figure("jubako_memory_bytes", device="cuda:0", where="device") == 2.5 * 2**30
    assert figure("jubako_model_ready", device="cuda:0") == 1
    await _watch_once({"state": "unloaded", "device": "cuda:0", "memory_gib": None})
    assert figure("jubako_memory_bytes", device="cuda:0", where="device") == 0
    assert figure("jubako_model_ready", device="cuda:0") == 0
    # On a CPU, what a model takes is the machine's memory.
    await _watch_once({**state, "device": "cpu"})
    assert figure("jubako_memory_bytes", device="cpu", where="device") == 0
    assert (figure("jubako_memory_bytes", device="cpu", where="machine") or 0) > 10e6


async def test_each_card_has_its_memory_and_what_it_says_of_itself() -> None:
    def figure(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(f"jubako_card_{name}", {"model": "watched", "replica": "1", **labels})

    memory = {"allocated_gib": 2, "reserved_gib": 3, "peak_gib": 2.5, "total_gib": 80}
    busy = {**memory, "utilisation": 0.5, "temperature_c": 61, "used_gib": 70}
    silent = {**memory, "utilisation": None, "temperature_c": None}
    await _watch_once({"state": "ready", "cards": {"cuda:0": busy, "cuda:1": silent}})
    kinds = ("allocated", "reserved", "peak", "total")
    figures = [figure("memory_bytes", device="cuda:1", kind=kind) for kind in kinds]
    assert figures == [2 * 2**30, 3 * 2**30, 2.5 * 2**30, 80 * 2**30]
    assert figure("memory_bytes", device="cuda:0", kind="used") == 70 * 2**30
    assert figure("memory_bytes", device="cuda:1", kind="used") is None
    assert figure("utilisation_ratio", device="cuda:0") == 0.5
    assert figure("temperature_celsius", device="cuda:0") == 61
    assert figure("utilisation_ratio", device="cuda:1") is None


async def _watch_once(state: dict[str, Any]) -> None:
    now = RunnerState(model="watched", **state)
    watching = asyncio.create_task(watch("watched", 1, lambda: now))
    await asyncio.sleep(0)
    watching.cancel()
