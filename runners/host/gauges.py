"""Prometheus gauges of a replica, updated regularly: whether it is ready, its memory, and its cards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import psutil
from prometheus_client import Gauge

from runners.host.metrics import OF_REPLICA
from runners.state import Card, ModelState, RunnerState

CARD_MEMORY = Gauge(
    "jubako_card_memory_bytes",
    "Memory of a card: what the replica's process has allocated and reserved, the most it ever allocated, the "
    "total, and what all processes use",
    labelnames=[*OF_REPLICA, "device", "kind"],
    multiprocess_mode="mostrecent",
)
CARD_UTILISATION = Gauge(
    "jubako_card_utilisation_ratio",
    "The share of the last moments in which something ran on a card, of whatever process",
    labelnames=[*OF_REPLICA, "device"],
    multiprocess_mode="mostrecent",
)
CARD_TEMPERATURE = Gauge(
    "jubako_card_temperature_celsius",
    "Temperature of a card",
    labelnames=[*OF_REPLICA, "device"],
    multiprocess_mode="mostrecent",
)
MEMORY = Gauge(
    "jubako_memory_bytes",
    "What a replica's process takes of the machine's memory, and of its device's",
    labelnames=[*OF_REPLICA, "device", "where"],
    # A killed process leaves its figures behind, and its successor's replace them.
    multiprocess_mode="mostrecent",
)
READY = Gauge(
    "jubako_model_ready",
    "Whether a replica of the model is loaded",
    labelnames=[*OF_REPLICA, "device"],
    multiprocess_mode="mostrecent",
)
LOOK_S = 5.0


async def watch(model: str, replica: int, state: Callable[[], RunnerState]) -> None:
    """Keep setting the gauges of a replica's process from `Host.state`."""
    of = {"model": model, "replica": str(replica)}
    process, before = psutil.Process(), None
    while True:
        now = state()
        if before not in (None, now.device):
            # It was moved: the figures of its former device would otherwise stay in the metrics' files.
            _show_place(of, before, 0, 0, ready=False)
        on_device = (now.memory_gib or 0) * 2**30 if now.device != "cpu" else 0
        _show_place(of, now.device, process.memory_info().rss, on_device, ready=now.state is ModelState.READY)
        before = now.device
        for device, card in (now.cards or {}).items():
            _show_card({**of, "device": device}, card)
        await asyncio.sleep(LOOK_S)


def _show_place(of: Mapping[str, str], device: str | None, machine: float, on_device: float, *, ready: bool) -> None:
    labels = {**of, "device": device or ""}
    MEMORY.labels(**labels, where="machine").set(machine)
    MEMORY.labels(**labels, where="device").set(on_device)
    READY.labels(**labels).set(ready)


def _show_card(labels: Mapping[str, str], card: Card) -> None:
    memory_gib = {
        "allocated": card.allocated_gib,
        "reserved": card.reserved_gib,
        "peak": card.peak_gib,
        "total": card.total_gib,
        "used": card.used_gib,
    }
    for kind, gib in memory_gib.items():
        if gib is not None:
            CARD_MEMORY.labels(**labels, kind=kind).set(gib * 2**30)
    if card.utilisation is not None:
        CARD_UTILISATION.labels(**labels).set(card.utilisation)
    if card.temperature_c is not None:
        CARD_TEMPERATURE.labels(**labels).set(card.temperature_c)
