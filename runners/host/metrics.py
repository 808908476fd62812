"""What an engine reports about itself, as Prometheus metrics on BentoML's `/metrics`."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from models.catalogue.families import CallStage
from runners.engine.observer import EngineObserver, RequestReport
from runners.engine.passes.executor import FAILURES, FailedPass, Pass

OF_REPLICA = ("model", "replica")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

REQUESTS = Counter(
    "jubako_requests_total", "Requests that ended, by outcome", labelnames=[*OF_REPLICA, "task", "outcome"]
)
IMAGES = Counter(
    "jubako_images_total", "Images generated; its rate is images per second", labelnames=[*OF_REPLICA, "task"]
)
QUEUE_LENGTH = Gauge(
    "jubako_queue_length", "Requests waiting to start", labelnames=OF_REPLICA, multiprocess_mode="livesum"
)
QUEUE_SECONDS = Histogram(
    "jubako_queue_seconds", "Time from acceptance to start", labelnames=OF_REPLICA, buckets=_SECONDS
)
RUN_SECONDS = Histogram(
    "jubako_run_seconds", "Time from start to end", labelnames=[*OF_REPLICA, "task"], buckets=_SECONDS
)
BATCH_SIZE = Histogram(
    "jubako_batch_size",
    "Calls that shared a forward pass",
    labelnames=[*OF_REPLICA, "part"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
FAILED_PASSES = Counter(
    "jubako_failed_passes_total",
    "Forward passes of several calls that failed, so that the calls ran in smaller pieces",
    labelnames=[*OF_REPLICA, "cause"],
)
STEP_SECONDS = Histogram("jubako_step_seconds", "Time of one denoiser pass", labelnames=OF_REPLICA, buckets=_SECONDS)
_WORK = {
    CallStage.ENCODE: "encode",
    CallStage.DENOISE: "denoise",
    CallStage.CONTROL: "denoise",
    CallStage.DECODE: "decode",
}
COPY, WAIT = "copy", "wait"
WORK_SECONDS = Counter(
    "jubako_work_seconds_total",
    "Where the time goes: passes that encode, denoise (with ControlNets) and decode, by the device's clock; copying "
    "results off it and making images of them, beside passes; waiting between passes while requests are in hand",
    labelnames=[*OF_REPLICA, "work"],
)
PASS_GAP_SECONDS = Histogram(
    "jubako_pass_gap_seconds",
    "How long the device waits between two passes while requests are in hand",
    labelnames=OF_REPLICA,
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
PASS_FILL = Histogram(
    "jubako_pass_fill",
    "Latent positions of a pass, divided by the budget; above 1 is a single call that is larger",
    labelnames=[*OF_REPLICA, "part"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2),
)


class MetricsObserver(EngineObserver):
    def __init__(self, model: str, replica: int) -> None:
        self._of = of = {"model": model, "replica": str(replica)}
        for cause in FAILURES:
            # Alerts need the series to exist at 0.
            FAILED_PASSES.labels(**of, cause=cause)
        # Looked up once, and not by the engine's thread at each pass.
        self._work = {work: WORK_SECONDS.labels(**of, work=work) for work in (*_WORK.values(), COPY, WAIT)}
        self._gap = PASS_GAP_SECONDS.labels(**of)
        self._step = STEP_SECONDS.labels(**of)
        self._size_of = cache(lambda component: BATCH_SIZE.labels(**of, part=component))
        self._fill_of = cache(lambda component: PASS_FILL.labels(**of, part=component))

    def on_pass(self, forward: Pass) -> None:
        self._size_of(forward.part.component).observe(forward.calls)
        self._fill_of(forward.part.component).observe(forward.tokens / forward.budget_tokens)
        self._work[_WORK[forward.part.stage]].inc(forward.seconds)
        if forward.idle_s is not None:
            # Devices' clocks are imprecise, so an idle time may come out below zero.
            self._gap.observe(max(0.0, forward.idle_s))
            self._work[WAIT].inc(max(0.0, forward.idle_s))
        if forward.part.stage is CallStage.DENOISE:
            self._step.observe(forward.seconds)

    def on_failed_pass(self, failed: FailedPass) -> None:
        FAILED_PASSES.labels(**self._of, cause=failed.cause).inc()

    def on_copied(self, seconds: float) -> None:
        self._work[COPY].inc(seconds)

    def on_queue(self, length: int) -> None:
        QUEUE_LENGTH.labels(**self._of).set(length)

    def on_end(self, report: RequestReport) -> None:
        REQUESTS.labels(**self._of, task=report.task, outcome=report.outcome).inc()
        IMAGES.labels(**self._of, task=report.task).inc(report.images)
        QUEUE_SECONDS.labels(**self._of).observe(report.waited_s)
        RUN_SECONDS.labels(**self._of, task=report.task).observe(report.ran_s)
