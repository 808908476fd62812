"""Both ledgers keep the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.generation.request import Priority
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.job import Job, JobState, StoredResult
from jobs.ledger.ledger import Ledger
from jobs.ledger.redis import RedisLedger
from jobs.ledger.sqlite import SqliteLedger
from tests.support.surroundings.redis_server import RedisServer, redis_server

LONG = timedelta(hours=1)
RESULT = StoredResult(key="generations/a.png", media_type="image/png", seed=1)


def job(**changes: object) -> Job:
    return Job.model_validate({"request": {"prompt": "a red apple"}, "output_format": "png", "caller": "me", **changes})


def make(kind: str, folder: Path, server: RedisServer, ttl: timedelta) -> Ledger:
    return RedisLedger(server.url, ttl) if kind == "redis" else SqliteLedger(folder / "jobs.sqlite", ttl)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> AsyncIterator[Ledger]:
    ledger = make(request.param, tmp_path, redis, LONG)
    await ledger.open()
    yield ledger
    await ledger.close()


async def test_a_job_is_kept_as_it_was(ledger: Ledger) -> None:
    kept = await ledger.add(job(inputs={"image": "inputs/x.png"}, webhook_url="https://example.com/hook"))
    assert await ledger.get(kept.id) == kept


async def test_only_their_owner_can_read_the_records(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "jobs.sqlite"
    for _ in range(2):
        ledger = SqliteLedger(file, LONG)
        await ledger.open()
        await ledger.add(job())
        assert file.with_name("jobs.sqlite-wal").exists()
        assert [path.stat().st_mode & 0o077 for path in (file.parent, *file.parent.iterdir())] == [0, 0, 0]
        await ledger.close()
        # As earlier versions made it.
        file.chmod(0o644)


async def test_a_job_goes_through_its_life(ledger: Ledger) -> None:
    kept = await ledger.add(job())
    begun = await ledger.change(kept.id, Job.begun)
    assert (begun.state, begun.attempts) == (JobState.PROCESSING, 1)
    await ledger.change(kept.id, lambda j: j.advanced(40, "Step 2 of 5"))
    done = await ledger.change(kept.id, lambda j: j.completed((RESULT,)))
    assert (done.state, done.progress, done.results) == (JobState.COMPLETED, 100, (RESULT,))
    assert await ledger.get(kept.id) == done


async def test_the_end_is_final(ledger: Ledger) -> None:
    kept = await ledger.add(job())
    await ledger.change(kept.id, Job.cancelled)
    late = await ledger.change(kept.id, lambda j: j.completed((RESULT,)))
    assert late.state is JobState.CANCELLED
    assert (await ledger.get(kept.id)).results == ()


async def test_changes_at_the_same_time_are_all_kept(ledger: Ledger) -> None:
    kept = await ledger.add(job())
    await asyncio.gather(*(ledger.change(kept.id, Job.begun) for _ in range(20)))
    assert (await ledger.get(kept.id)).attempts == 20


async def test_an_idempotency_key_is_one_job_for_its_owner(ledger: Ledger) -> None:
    first = await ledger.add(job(), "key")
    again = await ledger.add(job(), "key")
    stranger = await ledger.add(job(owner="someone else"), "key")
    assert again == first
    assert stranger.id != first.id
    assert await ledger.by_key("someone else", "key") == stranger
    assert await ledger.by_key("nobody", "key") is None


async def test_of_one_key_used_at_the_same_time_one_job_comes(ledger: Ledger) -> None:
    jobs = await asyncio.gather(*(ledger.add(job(), "key") for _ in range(10)))
    assert len({each.id for each in jobs}) == 1


async def test_pages_run_from_new_to_old(ledger: Ledger) -> None:
    kept = [await ledger.add(job()) for _ in range(5)]
    await ledger.change(kept[2].id, Job.cancelled)
    first = await ledger.page(None, None, 3)
    rest = await ledger.page(None, first.next_before, 3)
    assert [j.id for j in (*first.jobs, *rest.jobs)] == [j.id for j in reversed(kept)]
    assert rest.next_before is None
    assert [j.id for j in (await ledger.page(JobState.CANCELLED, None, 3)).jobs] == [kept[2].id]


async def test_pages_of_one_owner_show_no_others(ledger: Ledger) -> None:
    mine = [await ledger.add(job(owner="me")) for _ in range(3)]
    others = await ledger.add(job(owner="you"))
    await ledger.change(mine[1].id, Job.cancelled)
    first = await ledger.page(None, None, 2, "me")
    rest = await ledger.page(None, first.next_before, 2, "me")
    assert [j.id for j in (*first.jobs, *rest.jobs)] == [j.id for j in reversed(mine)]
    assert [j.id for j in (await ledger.page(JobState.CANCELLED, None, 5, "me")).jobs] == [mine[1].id]
    assert (await ledger.page(JobState.CANCELLED, None, 5, "you")).jobs == []
    assert (await ledger.page(None, None, 5, "")).jobs == []
    assert len((await ledger.page(None, None, 5)).jobs) == 4
    assert others.id in {j.id for j in (await ledger.page(None, None, 5, "you")).jobs}


async def test_jobs_that_are_added_together_have_one_key(ledger: Ledger) -> None:
    together = [job(batch_id="together") for _ in range(3)]
    assert await ledger.add_all(together, "key") == together[0]
    again = [job(batch_id="again") for _ in range(3)]
    assert await ledger.add_all(again, "key") == together[0]
    assert await ledger.members("together") == together
    assert await ledger.members("again") == []


async def test_results_are_counted_for_their_owner_until_they_go(ledger: Ledger) -> None:
    await ledger.keep_files("me", ["generations/a.png", "generations/b.png"], LONG)
    await ledger.keep_files("me", ["generations/a.png"], None)
    await ledger.keep_files("you", ["generations/c.png"], LONG)
    assert [await ledger.count_files(owner) for owner in ("me", "you", "")] == [2, 1, 0]
    assert await ledger.file_owner("generations/a.png") == "me"
    await ledger.forget_files("me", ["generations/a.png"])
    assert await ledger.file_owner("generations/a.png") is None
    assert await ledger.count_files("me") == 1
    await ledger.keep_files("me", ["generations/d.png"], timedelta(seconds=0.01))
    async with asyncio.timeout(20):
        while await ledger.count_files("me") != 1:  # noqa: ASYNC110, since what expires tells nobody
            await asyncio.sleep(0.01)
    await ledger.sweep()
    assert await ledger.count_files("me") == 1


async def test_what_is_unfinished_is_found_oldest_first(ledger: Ledger) -> None:
    kept = [await ledger.add(job()) for _ in range(4)]
    await ledger.change(kept[1].id, Job.begun)
    await ledger.change(kept[2].id, lambda j: j.failed("out of memory"))
    assert [j.id async for j in ledger.unfinished()] == [kept[0].id, kept[1].id, kept[3].id]


async def test_waiting_lines_are_counted_by_class_and_caller(ledger: Ledger) -> None:
    low = await ledger.add(job(priority=Priority.LOW))
    await ledger.add(job(priority=Priority.HIGH))
    assert [await ledger.waiting(p) for p in Priority] == [1, 0, 1]
    await ledger.change(low.id, Job.begun)
    assert await ledger.waiting(Priority.LOW) == 0
    assert await ledger.open_for("me") == 2
    await ledger.change(low.id, Job.cancelled)
    assert await ledger.open_for("me") == 1


async def test_results_are_recalled_by_content_once_they_are_there(ledger: Ledger) -> None:
    kept = await ledger.add(job())
    await ledger.remember_result("digest", kept.id)
    assert await ledger.recall_result("digest") is None
    done = await ledger.change(kept.id, lambda j: j.completed((RESULT,)))
    assert await ledger.recall_result("digest") == done
    assert await ledger.recall_result("other") is None


async def test_an_unknown_job_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownJob, match="'nothing'"):
        await ledger.get("nothing")
    with pytest.raises(UnknownJob):
        await ledger.change("nothing", Job.begun)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_ended_jobs_expire_and_open_ones_never(kind: str, tmp_path: Path, redis: RedisServer) -> None:
    ledger = make(kind, tmp_path, redis, timedelta(seconds=1))
    await ledger.open()
    waiting, ended = await ledger.add(job()), await ledger.add(job(), "key")
    await ledger.change(ended.id, Job.cancelled)
    await _until_gone(ledger, ended.id)
    assert await ledger.sweep() == 1
    assert [j.id for j in (await ledger.page(None, None, 10)).jobs] == [waiting.id]
    assert (await ledger.add(job(), "key")).id != ended.id
    await ledger.close()


async def _until_gone(ledger: Ledger, job_id: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await ledger.get(job_id)
            except UnknownJob:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_records_outlive_the_process(kind: str, tmp_path: Path, redis: RedisServer) -> None:
    before = make(kind, tmp_path, redis, LONG)
    await before.open()
    kept = await before.add(job())
    await before.close()
    if kind == "redis":
        redis.stop()
        redis.start()
    after = make(kind, tmp_path, redis, LONG)
    await after.open()
    assert await after.get(kept.id) == kept
    await after.close()


async def test_a_redis_that_is_away_is_said_to_be(tmp_path: Path, redis: RedisServer) -> None:
    ledger = RedisLedger(redis.url, LONG)
    redis.stop()
    assert not await ledger.is_reachable()
    with pytest.raises(LedgerUnavailable):
        await ledger.add(job())
    redis.start()
    assert await ledger.is_reachable()
    await ledger.close()


async def test_the_jobs_of_a_batch_are_found_in_order(ledger: Ledger) -> None:
    kept = [await ledger.add(job(batch_id="together")) for _ in range(3)]
    await ledger.add(job(batch_id="others"))
    await ledger.add(job())
    assert [j.id for j in await ledger.members("together")] == [j.id for j in kept]


async def test_webhooks_that_are_yet_to_be_told_are_found(ledger: Ledger) -> None:
    kept = await ledger.add(job(webhook_url="https://example.com/"))
    await ledger.add(job())
    assert [j.id async for j in ledger.unnotified()] == []
    await ledger.change(kept.id, Job.cancelled)
    assert [j.id async for j in ledger.unnotified()] == [kept.id]
    await ledger.note(kept.id, lambda j: j.changed(told=True))
    assert [j.id async for j in ledger.unnotified()] == []


async def test_the_oldest_open_job_is_known(ledger: Ledger) -> None:
    assert await ledger.oldest() is None
    first, second = await ledger.add(job()), await ledger.add(job())
    await ledger.change(first.id, Job.begun)
    assert await ledger.oldest() == first.created_at
    await ledger.change(first.id, Job.cancelled)
    assert await ledger.oldest() == second.created_at


async def test_places_in_line_follow_class_and_age(ledger: Ledger) -> None:
    low, first, second = [await ledger.add(job(priority=p)) for p in (Priority.LOW, Priority.NORMAL, Priority.NORMAL)]
    assert [await ledger.ahead_of(each) for each in (low, first, second)] == [2, 0, 1]
    await ledger.change(first.id, Job.begun)
    assert [await ledger.ahead_of(each) for each in (low, second)] == [1, 0]


async def test_a_job_that_moves_is_last_in_its_new_line(ledger: Ledger) -> None:
    first, high, last = [await ledger.add(job(priority=p)) for p in (Priority.LOW, Priority.HIGH, Priority.LOW)]
    moved = await ledger.change(first.id, lambda j: j.prioritized(Priority.HIGH))
    assert moved == await ledger.get(first.id)
    assert moved.request["priority"] == 0, "which the engine reads"
    assert [await ledger.waiting(p) for p in Priority] == [2, 0, 1]
    assert [await ledger.ahead_of(each) for each in (high, moved, last)] == [0, 1, 2]
    assert [each.id async for each in ledger.unfinished()] == [high.id, last.id, first.id]
    begun = await ledger.change(first.id, Job.begun)
    assert [await ledger.waiting(p) for p in Priority] == [1, 0, 1]
    again = await ledger.change(first.id, lambda j: j.prioritized(Priority.LOW))
    assert (begun.attempts, again.state, again.attempts) == (1, JobState.PENDING, 0)
    assert [await ledger.waiting(p) for p in Priority] == [1, 0, 2]
