"""Whose jobs are whose: others' are unknown, an admin has all, and an idempotency key stands for one request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from core.caller import Caller, current_caller
from core.errors import Forbidden
from core.generation.events import Event
from core.generation.request import GenerationRequest, Priority
from jobs.desk.caller_desk import CallerDesk
from jobs.desk.desk import JobDesk
from jobs.errors import KeyReused, NotEnded, TooManyJobs, TooManyResults, UnknownJob
from jobs.job import Job, JobState
from runners.engine.engine import Engine
from storage.client import Storage
from storage.errors import NotStored
from tests.support.engine.drawing import request
from tests.support.engine.job_desk import EngineProducer, finished, job_desk, order

ALICE, BOB, BOSS = Caller("alice"), Caller("bob"), Caller("boss", admin=True)
NOBODY, NOBODY_ELSE = Caller("10.0.0.1", anonymous=True), Caller("10.0.0.2", anonymous=True)
SLOW = request(num_inference_steps=900, progress=True)


async def done(desk: JobDesk, caller: Caller, **changes: Any) -> Job:
    (job,) = await CallerDesk(desk, caller).submit(order(**changes))
    return await finished(desk, job)


async def test_others_do_not_find_a_job(desk: JobDesk) -> None:
    alice, bob = CallerDesk(desk, ALICE), CallerDesk(desk, BOB)
    (job,) = await alice.submit(order(SLOW, batch_id="together"))
    assert job.owner == "alice"
    for ask in (bob.get, bob.cancel, bob.delete_results, bob.delete):
        with pytest.raises(UnknownJob, match=job.id):
            await ask(job.id)
    with pytest.raises(UnknownJob):
        await bob.batch("together")
    with pytest.raises(UnknownJob):
        async with aclosing(bob.watch(job.id)) as events:
            await anext(events)
    assert job.id not in {each.id for each in (await bob.page(None, None, 100)).jobs}
    assert [each.id for each in await alice.batch("together")] == [job.id]
    assert job.id in {each.id for each in (await alice.page(None, None, 100)).jobs}
    assert (await alice.cancel(job.id)).state is JobState.CANCELLED


async def test_a_caller_moves_own_jobs_to_lines_that_they_may_have(desk: JobDesk) -> None:
    (job,) = await CallerDesk(desk, ALICE).submit(order(SLOW))
    with pytest.raises(UnknownJob):
        await CallerDesk(desk, BOB).prioritize(job.id, Priority.LOW)
    modest = Caller("alice", best_priority=Priority.NORMAL)
    with pytest.raises(Forbidden, match="priority: this key may have normal at best"):
        await CallerDesk(desk, modest).prioritize(job.id, Priority.HIGH)
    assert (await desk.cancel(job.id)).priority is Priority.NORMAL


async def test_what_its_owner_deletes_nobody_finds(desk: JobDesk, storage: Storage) -> None:
    alice = CallerDesk(desk, ALICE)
    ended = await done(desk, ALICE, batch_id="deleted")
    (running,) = await alice.submit(order(SLOW, batch_id="deleted"))
    for job in (ended, running):
        await alice.delete(job.id)
        for ask in (alice.get, alice.delete, CallerDesk(desk, BOSS).get):
            with pytest.raises(UnknownJob, match=job.id):
                await ask(job.id)
        assert job.id not in {each.id for each in (await alice.page(None, None, 100)).jobs}
    with pytest.raises(UnknownJob):
        await alice.batch("deleted")
    assert not await storage.exists(ended.results[0].key)


async def test_an_admin_has_all(desk: JobDesk) -> None:
    (job,) = await CallerDesk(desk, ALICE).submit(order(SLOW))
    boss = CallerDesk(desk, BOSS)
    assert job.id in {each.id for each in (await boss.page(None, None, 100)).jobs}
    assert (await boss.cancel(job.id)).state is JobState.CANCELLED


async def test_without_keys_all_are_one_user(desk: JobDesk) -> None:
    (job,) = await CallerDesk(desk, NOBODY).submit(order(SLOW))
    assert (await CallerDesk(desk, NOBODY_ELSE).cancel(job.id)).state is JobState.CANCELLED


async def test_an_equal_request_of_another_tells_nothing(desk: JobDesk) -> None:
    wanted = request(prompt="a secret of alice", progress=True)
    first = await done(desk, ALICE, wanted=wanted, repeatable=True)
    assert first.state is JobState.COMPLETED
    (other,) = await CallerDesk(desk, BOB).submit(order(wanted, repeatable=True))
    assert other.state is JobState.PENDING
    (own,) = await CallerDesk(desk, ALICE).submit(order(wanted, repeatable=True))
    assert own.state is JobState.COMPLETED


class Witness(EngineProducer):
    """Notes for whom it generates."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.callers: list[Caller] = []

    async def draw(self, wanted: GenerationRequest) -> AsyncGenerator[Event, None]:
        self.callers.append(current_caller())
        async with aclosing(super().draw(wanted)) as emitted:
            async for event in emitted:
                yield event


async def test_what_a_job_needs_is_counted_for_who_asked_for_it(engine: Engine, tmp_path: Path) -> None:
    witness = Witness(engine)
    async with job_desk(witness, tmp_path) as desk:
        await done(desk, ALICE)
        await done(desk, BOB)
    assert witness.callers == [ALICE, BOB]


async def test_a_key_is_its_owners(desk: JobDesk) -> None:
    (job,) = await CallerDesk(desk, ALICE).submit(order(idempotency_key="k", fingerprint="one"))
    (other,) = await CallerDesk(desk, BOB).submit(order(idempotency_key="k", fingerprint="two"))
    assert job.id != other.id
    # By their ids, since the job goes on meanwhile.
    assert [found.id for found in await CallerDesk(desk, ALICE).earlier("k", "one")] == [job.id]


async def test_a_key_that_comes_with_another_request_is_refused(desk: JobDesk) -> None:
    alice = CallerDesk(desk, ALICE)
    await alice.submit(order(idempotency_key="again", fingerprint="one"))
    with pytest.raises(KeyReused):
        await alice.submit(order(idempotency_key="again", fingerprint="two"))
    with pytest.raises(KeyReused):
        await alice.earlier("again", "two")
    assert await alice.earlier("new", "two") == []
    assert await alice.earlier(None, None) == []


async def test_a_key_of_a_batch_is_the_whole_batch(desk: JobDesk) -> None:
    alice = CallerDesk(desk, ALICE)
    jobs = await alice.submit(
        *(order(idempotency_key="many", fingerprint="one", batch_id="a") for _ in range(3)),
    )
    again = await alice.submit(
        *(order(idempotency_key="many", fingerprint="one", batch_id="b") for _ in range(3)),
    )
    assert [job.id for job in again] == [job.id for job in jobs]
    with pytest.raises(UnknownJob):
        await alice.batch("b")


async def test_of_orders_that_come_together_all_or_none_are_accepted(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, max_per_caller=2) as desk:
        with pytest.raises(TooManyJobs, match="you have 2 jobs"):
            await CallerDesk(desk, ALICE).submit(*(order() for _ in range(3)))
        assert (await desk.page(None, None, 10)).jobs == []


async def test_results_are_deleted_by_who_owns_them(desk: JobDesk, storage: Storage) -> None:
    alice = CallerDesk(desk, ALICE)
    job = await done(desk, ALICE, wanted=request(num_images=2, seed=40, progress=True), repeatable=True)
    (twin,) = await alice.submit(order(request(num_images=2, seed=40, progress=True), repeatable=True))
    kept = await alice.delete_results(job.id)
    assert (kept.state, kept.results, kept.message) == (JobState.COMPLETED, (), "The results were deleted")
    assert not any([await storage.exists(result.key) for result in job.results])
    assert all([await storage.exists(result.key) for result in twin.results])
    assert (await alice.delete_results(job.id)).results == ()


async def test_a_job_must_end_before_its_results_are_deleted(desk: JobDesk) -> None:
    alice = CallerDesk(desk, ALICE)
    (job,) = await alice.submit(order(SLOW))
    with pytest.raises(NotEnded):
        await alice.delete_results(job.id)
    await alice.cancel(job.id)


async def test_one_file_is_deleted_by_who_owns_it(desk: JobDesk, storage: Storage) -> None:
    job = await done(desk, ALICE)
    key = job.results[0].key
    for name in (key, "generations/unknown.png"):
        with pytest.raises(NotStored):
            await CallerDesk(desk, BOB).delete_file(name)
    await CallerDesk(desk, ALICE).delete_file(key)
    assert not await storage.exists(key)


async def test_results_have_a_quota_for_each_owner(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, max_results_per_owner=2) as desk:
        alice = CallerDesk(desk, ALICE)
        job = await done(desk, ALICE, wanted=request(num_images=2, progress=True))
        with pytest.raises(TooManyResults, match="you keep 2 results"):
            await alice.submit(order())
        with pytest.raises(TooManyResults):
            await alice.check_room()
        assert (await done(desk, BOB)).state is JobState.COMPLETED
        await alice.delete_results(job.id)
        await alice.keep_files(["generations/a.png"])
        assert (await done(desk, ALICE)).state is JobState.COMPLETED
        with pytest.raises(TooManyResults):
            await alice.submit(order())
