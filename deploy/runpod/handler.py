"""A RunPod serverless worker: inpainting without an HTTP server. Started as `python -m deploy.runpod.handler`.

A job's `input` has the fields of `POST /generate-inpainting`, with `input_image` and `mask_image` in base64; its
output is that address's answer. The worker takes several jobs at a time, which share batches in one engine. While
a job runs, its status shows `{"step", "steps"}`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

import runpod

from api.http.parsing import plain_values
from api.inpainting import FILES, Asked, generate
from core.errors import JubakoError
from core.events import Event, Step
from core.logs import show_log
from models.catalogue.served import served_catalogue
from runners.service import engine_limits, requests_per_batch
from settings import settings
from settings.report import log_settings
from standalone.in_process import in_process

TELL_EVERY_S = 1.0
"""Each telling is a request to RunPod."""
REPORTS = "RUNPOD_WEBHOOK_POST_OUTPUT"
"""RunPod sets it in its workers; in local tests there is nobody to tell."""


async def handler(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do one job; what RunPod shows as its error is the sentence that the server would answer."""
    try:
        asked = await _asked(job["input"])
        progress = _Progress(job)
        work = in_process().run(lambda gateway: generate(gateway, asked, progress.hear))
        return {"results": await asyncio.wrap_future(work)}
    except JubakoError as error:
        return {"error": error.message}


async def _asked(fields: Mapping[str, Any]) -> Asked:
    files = {name: data[0] for name, data in (await plain_values(fields, FILES)).items() if name in FILES}
    return Asked.of(**{**fields, **files})


class _Progress:
    """Tells RunPod how far a job is, now and then."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = dict(job)
        self._told_at_s = 0.0

    def hear(self, event: Event) -> None:
        now_s = time.monotonic()
        if isinstance(event, Step) and REPORTS in os.environ and now_s - self._told_at_s >= TELL_EVERY_S:
            self._told_at_s = now_s
            runpod.serverless.progress_update(self._job, {"step": event.step, "steps": event.steps})


def _jobs_at_a_time(_current: int) -> int:
    """As many as fill a batch of the default model; more would wait here while other workers are idle."""
    entry = served_catalogue(settings()).default
    return requests_per_batch(entry, engine_limits(entry, settings()))


def main() -> None:
    show_log()
    log_settings(settings())
    # The weights are read while RunPod prepares its first job.
    in_process().load()
    runpod.serverless.start({"handler": handler, "concurrency_modifier": _jobs_at_a_time})


if __name__ == "__main__":
    main()
