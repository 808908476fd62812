"""The job desk of this process, built from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from access.keys import Keyring
from api.jobs.answers import status_of
from core.caller import Caller
from jobs.bus import LocalBus, RedisBus
from jobs.desk.desk import JobDesk
from jobs.desk.settings import DeskSettings
from jobs.generation import GenerationJobs
from jobs.job import GENERATION, Job
from jobs.kinds import Kinds
from jobs.ledger.redis import RedisLedger
from jobs.ledger.sqlite import SqliteLedger
from jobs.queue import MEMORY, QueueSettings
from jobs.webhooks.sender import WebhookSender
from settings import Settings
from storage.client import Storage
from storyboard.job_kind import STORYBOARD, StoryboardJobs
from storyboard.maker import Maker

WebhookBody = Callable[[Job, Storage, str], Awaitable[Mapping[str, Any]]]
"""Makes a webhook's body from a job, the storage with its files, and this server's address."""


def make_desk(
    settings: Settings,
    maker: Maker,
    storage: Storage,
    keyring: Keyring,
    webhook_bodies: Mapping[str, WebhookBody] | None = None,
) -> JobDesk:
    """Return the desk, not yet open; the keys of `webhook_bodies` are those in `Job.webhook_shape`."""
    ttl = timedelta(seconds=settings.task_ttl_s)
    url = settings.redis
    ledger = RedisLedger(url, ttl) if url else SqliteLedger(settings.jobs_file.expanduser(), ttl)
    bus = RedisBus(url, ttl) if url else LocalBus(ttl)

    async def body(job: Job) -> Mapping[str, Any]:
        body_of = (webhook_bodies or {}).get(job.webhook_shape, status_of)
        return await body_of(job, storage, settings.public_url or job.base_url)

    sender = WebhookSender(
        ledger=ledger,
        secret=settings.webhook_secret or "",
        allow_private=settings.webhook_allow_private,
        first_pause=timedelta(seconds=settings.webhook_pause_s),
        body=body,
    )

    def caller_of(job: Job) -> Caller:
        return keyring.named(job.caller, anonymous=not job.owner)

    kinds: Kinds = {GENERATION: GenerationJobs(maker.gateway.draw), STORYBOARD: StoryboardJobs(maker)}
    return JobDesk(_desk_settings(settings), ledger, bus, storage, kinds, sender, caller_of)


def _desk_settings(settings: Settings) -> DeskSettings:
    return DeskSettings(
        queue=QueueSettings(
            url=settings.redis or MEMORY,
            concurrency=settings.job_concurrency,
            redelivery=timedelta(seconds=settings.job_redelivery_s),
        ),
        max_waiting=settings.max_waiting_jobs,
        max_per_caller=settings.max_jobs_per_caller,
        max_results_per_owner=settings.max_results_per_caller,
        max_runners_lost=settings.max_runners_lost,
        reuse_results=settings.reuse_results,
        result_ttl=timedelta(seconds=settings.result_ttl_s),
        webhook_secret=settings.webhook_secret,
        allow_private_webhooks=settings.webhook_allow_private,
    )
