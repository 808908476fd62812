"""What an engine says of its passes: how full they are, and how long its device waits between them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prometheus_client import REGISTRY

from models.catalogue.families import CallStage
from processes.machine.nvml import CardReading
from runners.engine.engine import Engine, EngineLimits
from runners.engine.observer import EngineObserver
from runners.host import card_figures
from runners.host.metrics import MetricsObserver
from tests.support.engine.drawing import draw_together, request
from tests.support.engine.recorder import Recorder


class Copies(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.copied_s: list[float] = []

    def on_copied(self, seconds: float) -> None:
        self.copied_s.append(seconds)


def drawn(model: Any, observer: EngineObserver, *, times: int = 1) -> None:
    engine = Engine(model, EngineLimits(batch_tokens=1024), observer)
    try:
        for seed in range(times):
            asyncio.run(draw_together(engine, [request(seed=seed, num_inference_steps=4)]))
    finally:
        engine.close()


def test_passes_know_their_budget_and_the_gap_before_them(tiny_model: Any) -> None:
    seen = Copies()
    drawn(tiny_model, seen, times=2)
    for each in seen.of("unet"):
        assert each.budget_tokens == 1024
        assert 0 < each.tokens <= 1024
    # Nobody asked before the first pass of each image, so nothing was lost.
    without = [number for number, each in enumerate(seen.passes) if each.idle_s is None]
    first, second = without
    assert first == 0
    assert seen.passes[second - 1].part.stage is CallStage.DECODE
    gaps = [each.idle_s for each in seen.passes if each.idle_s is not None]
    assert min(gaps) >= 0
    assert len(seen.copied_s) == 2
    assert min(seen.copied_s) > 0


def test_the_time_of_a_model_is_counted_by_what_it_was_for(tiny_model: Any) -> None:
    def seconds(work: str) -> float:
        return (
            REGISTRY.get_sample_value("jubako_work_seconds_total", {"model": "timed", "replica": "1", "work": work})
            or 0.0
        )

    observer = MetricsObserver("timed", 1)
    works = ("encode", "denoise", "decode", "copy", "wait")
    assert [seconds(work) for work in works] == [0] * 5
    drawn(tiny_model, observer)
    assert min(seconds(work) for work in works) > 0
    gap = REGISTRY.get_sample_value("jubako_pass_gap_seconds_sum", {"model": "timed", "replica": "1"})
    assert gap == pytest.approx(seconds("wait"))
    fill = REGISTRY.get_sample_value("jubako_pass_fill_count", {"model": "timed", "replica": "1", "part": "unet"})
    assert fill == 4


def test_a_card_is_described_by_torch_and_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for what needs a card: torch's figures of it, and NVML's reading."""
    properties = SimpleNamespace(uuid="1b2c", total_memory=80 * 2**30)
    monkeypatch.setattr(card_figures, "available_devices", lambda: ["cpu", "cuda:0", "cuda:1"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: (1 + int(device[-1])) * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 2 * 2**30)
    monkeypatch.setattr(card_figures, "reading", lambda uuid: {"GPU-1b2c": CardReading(0.5, 60, 70.0)}[uuid])
    found = card_figures.cards()
    assert list(found) == ["cuda:0", "cuda:1"]
    assert found["cuda:1"].model_dump() == {
        "allocated_gib": 2.0,
        "reserved_gib": 3.0,
        "peak_gib": 2.0,
        "total_gib": 80.0,
        "utilisation": 0.5,
        "temperature_c": 60,
        "used_gib": 70.0,
    }


def test_a_machine_without_cards_has_none() -> None:
    if not torch.cuda.is_available():
        assert card_figures.cards() == {}
