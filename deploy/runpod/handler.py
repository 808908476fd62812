"""A RunPod serverless worker: inpainting without an HTTP server. Started as `python -m deploy.runpod.handler`.

A job's `input` has the fields of `POST /generate-inpainting`, with `input_image` and `mask_image` in base64; its
output is that endpoint's answer. The worker runs several jobs at a time, which share batches in one engine. While a
job runs, its status shows `{"step", "steps"}`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

import runpod

from api.http.requests.parsing import plain_values
from api.inpainting import FILES, Hearing, form_of, generate
from core.errors import JubakoError
from core.generation.events import Event, Step
from core.logs import show_log
from models.catalogue.serving.served_models import served_catalogue
from runners.service import engine_limits, requests_per_batch
from settings import settings
from settings.startup_log import log_settings
from standalone.in_process import in_process

REPORT_EVERY_S = 1.0
"""Not more often, since each report is a request to RunPod."""
REPORT_URL = "RUNPOD_WEBHOOK_POST_OUTPUT"
"""RunPod sets this variable in its workers; it is missing in local tests."""


async def handler(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job; its error is the message that the server would answer."""
    try:
        form = form_of(await plain_values(job["input"], FILES))
        reporter = _ProgressReporter(job)
        work = in_process().run(lambda gateway: generate(gateway, form, reporter.report))
        return {"results": await asyncio.wrap_future(work), **reporter.heard.field}
    except JubakoError as error:
        return {"error": error.message}


class _ProgressReporter:
    """Reports a job's steps to RunPod, at most once every REPORT_EVERY_S."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = dict(job)
        self._reported_at_s = 0.0
        self.heard = Hearing()

    def report(self, event: Event) -> None:
        self.heard(event)
        now_s = time.monotonic()
        if isinstance(event, Step) and REPORT_URL in os.environ and now_s - self._reported_at_s >= REPORT_EVERY_S:
            self._reported_at_s = now_s
            runpod.serverless.progress_update(self._job, {"step": event.step, "steps": event.steps})


def _jobs_at_a_time(_current: int) -> int:
    """Return how many jobs fill a batch of the default model; more would wait here while other workers idle."""
    entry = served_catalogue(settings()).default
    return requests_per_batch(entry, engine_limits(entry, settings()))


def main() -> None:
    show_log()
    log_settings(settings())
    # The weights load while RunPod prepares the first job.
    in_process().load()
    runpod.serverless.start({"handler": handler, "concurrency_modifier": _jobs_at_a_time})


if __name__ == "__main__":
    main()
