"""Turns orders into jobs on record, all or none: checks limits and webhooks, and reuses results of equal requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.errors import InvalidRequest
from core.generation.request import Priority
from gateway.media.reading.uploads import in_image_thread
from jobs.desk.order import Order
from jobs.desk.settings import DeskSettings
from jobs.errors import KeyReused, TooManyJobs, TooManyResults
from jobs.inputs import plain_fields, request_digest, store_inputs
from jobs.job import Job, StoredResult
from jobs.ledger.ledger import Ledger
from jobs.webhooks.sender import check_webhook_url
from storage.client import Storage
from storage.errors import NotStored, StorageUnavailable
from storage.file_keys import result_key

RETRY_LATER_S = 10


@dataclass(frozen=True)
class Accepted:
    """The jobs of some orders, in their order."""

    jobs: list[Job]
    digests: list[str | None] | None
    """The jobs' content digests, with None for those that may not share results; None instead of a list if the jobs
    were accepted before, with the same idempotency key.
    """


@dataclass(frozen=True)
class Acceptance:
    settings: DeskSettings
    ledger: Ledger
    storage: Storage

    async def earlier(self, owner: str, idempotency_key: str | None, fingerprint: str | None) -> list[Job]:
        """Return the jobs that an owner submitted with this key before; empty for a new key. Raises KeyReused."""
        if idempotency_key is None:
            return []
        first = await self.ledger.by_key(owner, idempotency_key)
        return [] if first is None else await self._together(first, fingerprint)

    async def accept(self, orders: Sequence[Order]) -> Accepted:
        """Put one caller's orders on record as jobs, all or none; the first order's key counts for all.

        Raises TooManyJobs, TooManyResults, KeyReused, InvalidRequest for a webhook, StorageUnavailable and
        LedgerUnavailable.
        """
        first = orders[0]
        if earlier := await self.earlier(first.owner, first.idempotency_key, first.fingerprint):
            return Accepted(earlier, None)
        await self._check(orders)
        digests = [await self._digest(order) for order in orders]
        jobs: list[Job] = []
        kept, may_be_kept = None, False
        try:
            for order, digest in zip(orders, digests, strict=True):
                # One by one: if one fails, the files of those before it are deleted.
                jobs.append(await self._job(order, digest))
            may_be_kept = True
            kept = await self.ledger.add_all(jobs, first.idempotency_key)
            may_be_kept = kept.id == jobs[0].id
        finally:
            # Keep the files if `add_all` failed: it may have written the records. If not, the sweep deletes the files.
            if not may_be_kept:
                await self._discard(jobs)
        if kept.id != jobs[0].id:
            return Accepted(await self._together(kept, first.fingerprint), None)
        return Accepted(jobs, digests)

    async def _digest(self, order: Order) -> str | None:
        if not (order.repeatable and self.settings.reuse_results):
            return None
        return await in_image_thread(request_digest, order.owner, order.request, order.output_format, order.quality)

    async def check_line(self, priority: Priority, number: int) -> None:
        """Raise TooManyJobs unless `number` more jobs may wait in a priority's line."""
        if await self.ledger.waiting(priority) + number > self.settings.max_waiting:
            raise TooManyJobs(
                f"{self.settings.max_waiting} jobs of {priority.name.lower()} priority are waiting", RETRY_LATER_S
            )

    async def check_room(self, owner: str) -> None:
        """Raise TooManyResults for an owner who has reached the limit of stored results."""
        most = self.settings.max_results_per_owner
        if await self.ledger.count_files(owner) >= most:
            raise TooManyResults(
                f"you keep {most} results, which is the limit; delete some with DELETE /api/{{session_id}}/result, or "
                "wait until they expire"
            )

    async def _together(self, first: Job, fingerprint: str | None) -> list[Job]:
        if first.fingerprint != fingerprint:
            raise KeyReused
        return [first] if first.batch_id is None else await self.ledger.members(first.batch_id)

    async def _check(self, orders: Sequence[Order]) -> None:
        for url in {order.webhook_url for order in orders if order.webhook_url is not None}:
            await self._check_webhook(url)
        for priority, number in Counter(order.request.priority for order in orders).items():
            await self.check_line(priority, number)
        if await self.ledger.open_for(orders[0].caller) + len(orders) > self.settings.max_per_caller:
            raise TooManyJobs(f"you have {self.settings.max_per_caller} jobs that have not ended", RETRY_LATER_S)
        await self.check_room(orders[0].owner)

    async def _check_webhook(self, url: str) -> None:
        if self.settings.webhook_secret is None:
            raise InvalidRequest("webhook_url", "webhooks are off: the operator has set no JUBAKO_WEBHOOK_SECRET")
        await check_webhook_url(url, self.settings.allow_private_webhooks)

    async def _job(self, order: Order, digest: str | None) -> Job:
        job = _blank_job(order)
        earlier = None if digest is None else await self.ledger.recall_result(digest)
        if earlier is not None and (results := await self._copied(earlier, job)) is not None:
            job = job.completed(results).changed(message="An equal request was done before", hint=earlier.hint)
            if not order.keeps_inputs:
                return job
        try:
            return job.changed(inputs=await store_inputs(order.request, job.id, self.storage))
        except StorageUnavailable:
            # These were copied for a job that is now not accepted.
            await self._delete([result.key for result in job.results])
            raise

    async def _copied(self, earlier: Job, job: Job) -> tuple[StoredResult, ...] | None:
        """Copy an earlier job's results for a new job; None when they are gone."""
        copies: list[StoredResult] = []
        for number, result in enumerate(earlier.results):
            index = number if len(earlier.results) > 1 else None
            key = result_key(job.id, job.created_at, result.media_type, index)
            try:
                await self.storage.copy(result.key, key)
            except NotStored:
                await self._delete([copy.key for copy in copies])
                return None
            copies.append(result.model_copy(update={"key": key}))
        return tuple(copies) or None

    async def _discard(self, jobs: Sequence[Job]) -> None:
        """Delete the files of jobs that are not on record."""
        await self._delete([key for job in jobs for key in job.files])

    async def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            with suppress(StorageUnavailable):
                await self.storage.delete(keys)


def _blank_job(order: Order) -> Job:
    return Job(
        kind=order.kind,
        request=plain_fields(order.request),
        output_format=order.output_format,
        quality=order.quality,
        priority=order.request.priority,
        caller=order.caller,
        owner=order.owner,
        fingerprint=order.fingerprint,
        base_url=order.base_url,
        webhook_url=order.webhook_url,
        webhook_shape=order.webhook_shape,
        batch_id=order.batch_id,
        keeps_inputs=order.keeps_inputs,
        remixed_from=order.remixed_from,
    )
