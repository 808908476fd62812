"""What an engine reports about itself, as Prometheus metrics on BentoML's `/metrics`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil
from prometheus_client import Counter, Gauge, Histogram

from models.catalogue.families import Stage
from runners.engine.executor import FAILURES, FailedPass, Pass
from runners.engine.observer import EngineObserver, Report
from runners.state import Card, ModelState, RunnerState

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter("jubako_requests_total", "Requests that ended, by outcome", labelnames=["model", "task", "outcome"])
IMAGES = Counter("jubako_images_total", "Images generated; its rate is images per second", labelnames=["model", "task"])
QUEUE_LENGTH = Gauge(
    "jubako_queue_length", "Requests waiting to start", labelnames=["model"], multiprocess_mode="livesum"
)
QUEUE_SECONDS = Histogram(
    "jubako_queue_seconds", "Time from acceptance to start", labelnames=["model"], buckets=_SECONDS
)
RUN_SECONDS = Histogram("jubako_run_seconds", "Time from start to end", labelnames=["model", "task"], buckets=_SECONDS)
BATCH_SIZE = Histogram(
    "jubako_batch_size",
    "Calls that shared a forward pass",
    labelnames=["model", "part"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
FAILED_PASSES = Counter(
    "jubako_failed_passes_total",
    "Forward passes of several calls that failed, so that the calls ran in smaller pieces",
    labelnames=["model", "cause"],
)
STEP_SECONDS = Histogram("jubako_step_seconds", "Time of one denoiser pass", labelnames=["model"], buckets=_SECONDS)
_WORK = {
    Stage.ENCODE: "encode",
    Stage.DENOISE: "denoise",
    Stage.CONTROL: "denoise",
    Stage.DECODE: "decode",
}
COPY, WAIT = "copy", "wait"
WORK_SECONDS = Counter(
    "jubako_work_seconds_total",
    "Where the time goes: passes that encode, denoise (with ControlNets) and decode, by the device's clock; copying "
    "results off it and making images of them, beside passes; waiting between passes while requests are in hand",
    labelnames=["model", "work"],
)
PASS_GAP_SECONDS = Histogram(
    "jubako_pass_gap_seconds",
    "How long the device waits between two passes while requests are in hand",
    labelnames=["model"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
PASS_FILL = Histogram(
    "jubako_pass_fill",
    "Latent positions of a pass, divided by the budget; above 1 is a single call that is larger",
    labelnames=["model", "part"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2),
)
CARD_MEMORY = Gauge(
    "jubako_card_memory_bytes",
    "Memory of a card: what the model's process has allocated and reserved, the most it ever allocated, the total",
    labelnames=["model", "device", "kind"],
    multiprocess_mode="mostrecent",
)
CARD_UTILISATION = Gauge(
    "jubako_card_utilisation_ratio",
    "The share of the last moments in which something ran on a card, of whatever process",
    labelnames=["model", "device"],
    multiprocess_mode="mostrecent",
)
CARD_TEMPERATURE = Gauge(
    "jubako_card_temperature_celsius",
    "Temperature of a card",
    labelnames=["model", "device"],
    multiprocess_mode="mostrecent",
)
MEMORY = Gauge(
    "jubako_memory_bytes",
    "What a model's process takes of the machine's memory, and of its device's",
    labelnames=["model", "where"],
    # A process that was killed leaves its figures behind; the next one's replace them.
    multiprocess_mode="mostrecent",
)
READY = Gauge("jubako_model_ready", "Whether the model is loaded", labelnames=["model"], multiprocess_mode="mostrecent")
LOOK_S = 5.0


async def watch(model: str, state: Callable[[], RunnerState]) -> None:
    """Set the gauges of a model's process again and again, by what `Host.state` says."""
    process = psutil.Process()
    while True:
        now = state()
        on_device = (now.memory_gib or 0) * 2**30 if now.device != "cpu" else 0
        MEMORY.labels(model=model, where="machine").set(process.memory_info().rss)
        MEMORY.labels(model=model, where="device").set(on_device)
        READY.labels(model=model).set(now.state is ModelState.READY)
        for device, card in (now.cards or {}).items():
            _show(model, device, card)
        await asyncio.sleep(LOOK_S)


def _show(model: str, device: str, card: Card) -> None:
    memory_gib = {
        "allocated": card.allocated_gib,
        "reserved": card.reserved_gib,
        "peak": card.peak_gib,
        "total": card.total_gib,
    }
    for kind, gib in memory_gib.items():
        CARD_MEMORY.labels(model=model, device=device, kind=kind).set(gib * 2**30)
    if card.utilisation is not None:
        CARD_UTILISATION.labels(model=model, device=device).set(card.utilisation)
    if card.temperature_c is not None:
        CARD_TEMPERATURE.labels(model=model, device=device).set(card.temperature_c)


class MetricsObserver(EngineObserver):
    def __init__(self, model: str) -> None:
        self._model = model
        for cause in FAILURES:
            # Alerts must see it at 0.
            FAILED_PASSES.labels(model=model, cause=cause)
        # The engine's thread need not look them up at each pass.
        self._work = {work: WORK_SECONDS.labels(model=model, work=work) for work in (*_WORK.values(), COPY, WAIT)}
        self._gap = PASS_GAP_SECONDS.labels(model=model)

    def on_pass(self, forward: Pass) -> None:
        BATCH_SIZE.labels(model=self._model, part=forward.part.component).observe(forward.calls)
        PASS_FILL.labels(model=self._model, part=forward.part.component).observe(forward.tokens / forward.budget_tokens)
        self._work[_WORK[forward.part.stage]].inc(forward.seconds)
        if forward.idle_s is not None:
            # Clocks of devices are not exact enough for none at all.
            self._gap.observe(max(0.0, forward.idle_s))
            self._work[WAIT].inc(max(0.0, forward.idle_s))
        if forward.part.stage is Stage.DENOISE:
            STEP_SECONDS.labels(model=self._model).observe(forward.seconds)

    def on_failed_pass(self, failed: FailedPass) -> None:
        FAILED_PASSES.labels(model=self._model, cause=failed.cause).inc()

    def on_copied(self, seconds: float) -> None:
        self._work[COPY].inc(seconds)

    def on_queue(self, length: int) -> None:
        QUEUE_LENGTH.labels(model=self._model).set(length)

    def on_end(self, report: Report) -> None:
        REQUESTS.labels(model=self._model, task=report.task, outcome=report.outcome).inc()
        IMAGES.labels(model=self._model, task=report.task).inc(report.images)
        QUEUE_SECONDS.labels(model=self._model).observe(report.waited_s)
        RUN_SECONDS.labels(model=self._model, task=report.task).observe(report.ran_s)
