"""Jobs from acceptance to their end, in one process and over Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from core.errors import GenerationFailed, RunnerLost
from core.generation.events import Event, Step
from core.generation.request import GenerationRequest, Priority, Task
from jobs import generation, worker
from jobs.bus import JobEvent
from jobs.desk.desk import JobDesk
from jobs.errors import LedgerUnavailable, NotWaiting, TooManyJobs, UnknownJob
from jobs.job import MAX_FORGIVEN, Job, JobState
from jobs.ledger.redis import RedisLedger
from jobs.queue import MEMORY, QueueSettings
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from storage.client import Storage
from storage.errors import NotStored
from tests.support.engine.drawing import draw, largest_difference, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.hosts import until
from tests.support.engine.job_desk import EngineProducer, finished, job_desk, order
from tests.support.surroundings.redis_server import RedisServer


async def test_a_job_is_drawn_and_stored(desk: JobDesk, engine: Engine, storage: Storage) -> None:
    job = await desk.submit(order(request(seed=3)))
    assert (job.state, job.progress) == (JobState.PENDING, 0)
    done = await finished(desk, job)
    assert (done.state, done.progress, done.attempts, done.error) == (JobState.COMPLETED, 100, 1, None)
    (result,) = done.results
    assert (result.seed, result.media_type) == (3, "image/png")
    kept = Image.open(BytesIO(await storage.get(result.key)))
    assert largest_difference(kept, pictures(await draw(engine, request(seed=3)))[0].image) <= 1


async def test_images_travel_through_storage_and_are_deleted(desk: JobDesk, engine: Engine, storage: Storage) -> None:
    wanted = request(Task.INPAINT, seed=3)
    job = await desk.submit(order(wanted))
    assert set(job.inputs) == {"image", "mask"}
    done = await finished(desk, job)
    kept = Image.open(BytesIO(await storage.get(done.results[0].key)))
    assert largest_difference(kept, pictures(await draw(engine, wanted))[0].image) <= 1
    async with asyncio.timeout(20):
        for key in job.inputs.values():
            await _until_deleted(storage, key)


async def _until_deleted(storage: Storage, key: str) -> None:
    while True:
        try:
            await storage.get(key)
        except NotStored:
            return
        await asyncio.sleep(0.01)


async def test_progress_follows_the_steps(desk: JobDesk) -> None:
    job = await desk.submit(order(request(progress=True, preview_every=2, num_inference_steps=8)))
    async with aclosing(desk.watch(job.id)) as emitted:
        told = [event async for event in emitted]
    steps = [event for event in told if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 9))
    progress = [event["progress"] for event in told]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 8
    assert sum(event["event"] == "preview" for event in told) in (0, 4)
    assert told[-1]["event"] == "completed"


async def test_several_pictures_of_one_job(desk: JobDesk) -> None:
    done = await finished(desk, await desk.submit(order(request(num_images=3, seed=10))))
    assert [result.seed for result in done.results] == [10, 11, 12]
    assert len({result.key for result in done.results}) == 3


async def test_a_running_job_can_be_cancelled(desk: JobDesk, engine: Engine) -> None:
    # Jobs of other tests may still be ending.
    await until(lambda: not engine.running)
    job = await desk.submit(order(request(num_inference_steps=800, progress=True)))
    await _first_step(desk, job)
    assert (await desk.cancel(job.id)).state is JobState.CANCELLED
    assert (await finished(desk, job)).state is JobState.CANCELLED
    await until(lambda: not engine.running)


async def test_the_end_cannot_be_cancelled(desk: JobDesk) -> None:
    done = await finished(desk, await desk.submit(order()))
    assert (await desk.cancel(done.id)).state is JobState.COMPLETED


async def test_an_equal_seeded_request_is_answered_at_once(desk: JobDesk) -> None:
    first = await finished(desk, await desk.submit(order(repeatable=True)))
    again = await desk.submit(order(repeatable=True))
    assert again.state is JobState.COMPLETED
    assert [result.seed for result in again.results] == [result.seed for result in first.results]
    assert {result.key for result in again.results}.isdisjoint(result.key for result in first.results), (
        "files of its own"
    )
    assert (await desk.submit(order())).state is JobState.PENDING, "without a seed of the caller's, a new picture"
    other = await desk.submit(order(request(prompt="a green pear", progress=True), repeatable=True))
    assert other.state is JobState.PENDING


async def test_the_same_key_is_the_same_job(desk: JobDesk) -> None:
    first, again = [await desk.submit(order(idempotency_key="k")) for _ in range(2)]
    assert first.id == again.id
    assert (await finished(desk, first)).attempts == 1


async def test_unknown_jobs_are_unknown(desk: JobDesk) -> None:
    for ask in (desk.get, desk.cancel):
        with pytest.raises(UnknownJob):
            await ask("nothing")


async def test_waiting_lines_end_somewhere(engine: Engine, tmp_path: Path) -> None:
    one_at_a_time = QueueSettings(MEMORY, concurrency=1, redelivery=timedelta(seconds=2))
    async with job_desk(EngineProducer(engine), tmp_path, queue=one_at_a_time, max_waiting=2) as desk:
        slow = request(num_inference_steps=800, progress=True)
        await _first_step(desk, await desk.submit(order(slow)))
        _, last = [await desk.submit(order(slow)) for _ in range(2)]
        async with aclosing(desk.watch(last.id)) as emitted:
            assert (await anext(emitted))["position"] == 2
        with pytest.raises(TooManyJobs, match="2 jobs of normal priority"):
            await desk.submit(order(slow))
        high = await desk.submit(order(request(priority=Priority.HIGH)))
        assert (await finished(desk, high)).state is JobState.COMPLETED, "another class has a line of its own"


@pytest.mark.parametrize("shared", [False, True], ids=["embedded", "redis"])
async def test_a_waiting_job_moves_to_another_line(
    shared: bool, engine: Engine, tmp_path: Path, redis: RedisServer
) -> None:
    url = redis.url if shared else None
    one_at_a_time = QueueSettings(url or MEMORY, concurrency=1, redelivery=timedelta(seconds=2))
    async with job_desk(EngineProducer(engine), tmp_path, url, queue=one_at_a_time, max_waiting=2) as desk:
        slow = await desk.submit(order(request(num_inference_steps=800, progress=True)))
        await _first_step(desk, slow)
        first, second = [await desk.submit(order(request(seed=seed))) for seed in (1, 2)]
        moved = await desk.prioritize(second.id, Priority.HIGH)
        assert (await desk.position(first), await desk.position(moved)) in ((2, 1), (1, 1)), "which may be begun by now"
        done = await finished(desk, second)
        assert (done.state, done.attempts) == (JobState.COMPLETED, 1)
        assert (await desk.get(first.id)).state is JobState.PENDING
        async with asyncio.timeout(20):
            while not (await desk.get(slow.id)).progress:  # noqa: ASYNC110, since its events were watched already
                await asyncio.sleep(0.01)
        with pytest.raises(NotWaiting):
            await desk.prioritize(slow.id, Priority.HIGH)
        await desk.submit(order(request(priority=Priority.NORMAL, seed=3)))
        low = await desk.submit(order(request(priority=Priority.LOW, num_inference_steps=800)))
        await _begun(desk, low)
        last = await desk.submit(order(request(priority=Priority.LOW)))
        with pytest.raises(TooManyJobs, match="2 jobs of normal priority"):
            await desk.prioritize(last.id, Priority.NORMAL)
        await desk.cancel(slow.id)
        assert (await finished(desk, first)).state is JobState.COMPLETED
        assert (await desk.get(second.id)).attempts == 1, "what was left in its first line is no job"


@pytest.mark.parametrize("shared", [False, True], ids=["embedded", "redis"])
async def test_a_job_that_waits_in_an_engine_moves_too_and_back(
    shared: bool, tiny_model: LoadedModel, tmp_path: Path, redis: RedisServer
) -> None:
    url = redis.url if shared else None
    with running(tiny_model, max_running=1) as (engine, _):
        async with job_desk(EngineProducer(engine), tmp_path, url) as desk:
            slow = await desk.submit(order(request(num_inference_steps=800, progress=True)))
            await _first_step(desk, slow)
            jobs = [await desk.submit(order(request(seed=seed, progress=True))) for seed in (1, 2)]
            for job in jobs:
                await _begun(desk, job)
            for priority in (Priority.HIGH, Priority.NORMAL, Priority.HIGH):
                moved = await desk.prioritize(jobs[1].id, priority)
                assert (moved.state, moved.priority) == (JobState.PENDING, priority)
                await _begun(desk, moved)
            await desk.cancel(slow.id)
            done = await finished(desk, jobs[1])
            assert (done.state, done.attempts) == (JobState.COMPLETED, 1)
            first = await finished(desk, jobs[0])
            assert first.finished_at is not None
            assert done.finished_at is not None
            assert done.finished_at < first.finished_at


async def test_a_batch_moves_as_a_whole_or_not_at_all(engine: Engine, tmp_path: Path) -> None:
    one_at_a_time = QueueSettings(MEMORY, concurrency=1, redelivery=timedelta(seconds=2))
    async with job_desk(EngineProducer(engine), tmp_path, queue=one_at_a_time, max_waiting=2) as desk:
        for priority in (Priority.NORMAL, Priority.HIGH):
            await _begun(desk, await desk.submit(order(request(priority=priority, num_inference_steps=900))))
        jobs = await desk.submit_all([order(request(seed=seed), batch_id="b") for seed in (1, 2)])
        other = await desk.submit(order(request(priority=Priority.HIGH)))
        with pytest.raises(TooManyJobs, match="2 jobs of high priority"):
            await desk.prioritize_all(jobs, Priority.HIGH)
        assert [job.priority for job in await desk.batch("b")] == [Priority.NORMAL] * 2
        await desk.cancel(other.id)
        await desk.prioritize_all(jobs, Priority.HIGH)
        assert [job.priority for job in await desk.batch("b")] == [Priority.HIGH] * 2


class TwiceProducer(EngineProducer):
    """Counts who draws a seed at the same time; where `fails` is set, the first to draw it fails then."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.drawing: Counter[int] = Counter()
        self.fails: asyncio.Event | None = None
        self._failing: set[int] = set()

    async def draw(self, wanted: GenerationRequest) -> AsyncGenerator[Event, None]:
        self.drawing[wanted.seed] += 1
        try:
            if self.fails is not None and wanted.seed not in self._failing:
                self._failing.add(wanted.seed)
                await self.fails.wait()
                raise GenerationFailed("in the first line")
            async with aclosing(super().draw(wanted)) as emitted:
                async for event in emitted:
                    yield event
        finally:
            self.drawing[wanted.seed] -= 1

    async def drawn_by(self, number: int, seed: int) -> None:
        async with asyncio.timeout(20):
            while self.drawing[seed] != number:  # noqa: ASYNC110, since nobody says so
                await asyncio.sleep(0.01)


async def _lost(_: Job) -> None:
    """Cancel nothing: a message of docket's has not arrived."""


async def test_a_worker_leaves_a_job_that_moved_though_its_cancellation_is_lost(
    tiny_model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_S", 0.2)
    with running(tiny_model, max_running=1) as (engine, _):
        producer = TwiceProducer(engine)
        async with job_desk(producer, tmp_path) as desk:
            slow = await desk.submit(order(request(num_inference_steps=900, progress=True)))
            await _first_step(desk, slow)
            job = await desk.submit(order(request(seed=1)))
            await producer.drawn_by(1, seed=1)
            monkeypatch.setattr(desk._queue, "cancel", _lost)
            await desk.prioritize(job.id, Priority.HIGH)
            await producer.drawn_by(2, seed=1)
            await producer.drawn_by(1, seed=1)
            monkeypatch.undo()
            await desk.cancel(slow.id)
            done = await finished(desk, job)
    assert (done.state, done.priority, done.attempts, done.turn) == (JobState.COMPLETED, Priority.HIGH, 1, 2)


async def test_a_worker_whose_turn_is_over_fails_no_job(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = TwiceProducer(engine)
    producer.fails = asyncio.Event()
    async with job_desk(producer, tmp_path) as desk:
        job = await desk.submit(order(request(seed=1, num_inference_steps=80)))
        await producer.drawn_by(1, seed=1)
        monkeypatch.setattr(desk._queue, "cancel", _lost)
        await desk.prioritize(job.id, Priority.HIGH)
        await producer.drawn_by(2, seed=1)
        producer.fails.set()
        await producer.drawn_by(1, seed=1)
        assert (await finished(desk, job)).state is JobState.COMPLETED


def test_moves_take_back_no_more_than_so_many_attempts() -> None:
    job = Job(request={"model": "m", "priority": 1}, output_format="png")
    for move in range(3 * MAX_FORGIVEN):
        job = job.begun().prioritized((Priority.HIGH, Priority.NORMAL)[move % 2])
    assert (job.attempts, job.turn) == (2 * MAX_FORGIVEN, 3 * MAX_FORGIVEN)


async def _begun(desk: JobDesk, job: Job) -> None:
    async with asyncio.timeout(20):
        while (await desk.get(job.id)).state is JobState.PENDING:  # noqa: ASYNC110, since no event says so
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("deadline_s", [1e-9, 0.2])
async def test_who_waits_in_line_at_a_deadline_waits_no_longer(
    deadline_s: float, engine: Engine, tmp_path: Path
) -> None:
    one_at_a_time = QueueSettings(MEMORY, concurrency=1, redelivery=timedelta(seconds=2))
    async with job_desk(EngineProducer(engine), tmp_path, queue=one_at_a_time) as desk:
        slow = await desk.submit(order(request(num_inference_steps=800, progress=True)))
        await _first_step(desk, slow)
        job = await desk.submit(order(request(deadline_s=deadline_s)))
        ended = await finished(desk, job)
        assert (ended.state, ended.attempts) == (JobState.FAILED, 0)
        assert ended.error == f"deadline_s: {deadline_s:g} s have passed while the job waited in line"
        assert (await desk.get(slow.id)).state is JobState.PROCESSING


async def test_a_deadline_that_has_passed_at_once_ends_a_job(desk: JobDesk) -> None:
    ended = await finished(desk, await desk.submit(order(request(deadline_s=1e-9))))
    assert ended.state is JobState.FAILED
    assert str(ended.error).startswith("deadline_s: 1e-09 s have passed")


async def _first_step(desk: JobDesk, job: Job) -> None:
    async with aclosing(desk.watch(job.id)) as emitted:
        async for event in emitted:
            if event["event"] == "step":
                return


async def test_a_caller_may_have_so_many_jobs(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, max_per_caller=2) as desk:
        slow = request(num_inference_steps=800)
        jobs = [await desk.submit(order(slow)) for _ in range(2)]
        with pytest.raises(TooManyJobs, match="you have 2 jobs"):
            await desk.submit(order(slow))
        await desk.cancel(jobs[0].id)
        await desk.submit(order(slow))


async def test_jobs_outlive_the_desk(engine: Engine, tmp_path: Path) -> None:
    producer = EngineProducer(engine)
    async with job_desk(producer, tmp_path) as desk:
        jobs = [await desk.submit(order(request(seed=seed, num_inference_steps=20))) for seed in range(12)]
        await _begun(desk, jobs[-5])
    async with job_desk(producer, tmp_path) as desk:
        done = [await finished(desk, job) for job in jobs]
    assert [job.state for job in done] == [JobState.COMPLETED] * 12
    assert max(job.attempts for job in done) == 2


class PoisonousProducer(EngineProducer):
    """A model whose process ends whenever it draws poison, with everything that it is drawing; named so, since a real
    process that ends is tests/processes/test_job_durability.py's.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._ended = asyncio.Event()

    async def draw(self, wanted: GenerationRequest) -> AsyncGenerator[Event, None]:
        ended = self._ended
        async with aclosing(super().draw(wanted)) as emitted:
            async for event in emitted:
                if wanted.prompt == "poison" and isinstance(event, Step):
                    self._ended.set()
                    self._ended = asyncio.Event()
                if ended.is_set():
                    raise RunnerLost
                yield event


async def test_who_ends_the_model_fails_and_its_neighbours_do_not(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(PoisonousProducer(engine), tmp_path) as desk:
        good = [
            await desk.submit(order(request(seed=seed, progress=True, num_inference_steps=10))) for seed in range(5)
        ]
        poison = await desk.submit(order(request(prompt="poison", progress=True)))
        assert [(await finished(desk, job)).state for job in good] == [JobState.COMPLETED] * 5
        given_up = await finished(desk, poison)
    assert given_up.state is JobState.FAILED
    assert "3 times the model's process ended" in (given_up.error or "")


async def test_a_mistake_of_ours_fails_the_job_and_is_not_shown(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError("no such codec")

    monkeypatch.setattr(generation, "encode_result", broken)
    async with job_desk(EngineProducer(engine), tmp_path) as desk:
        failed = await finished(desk, await desk.submit(order()))
    assert (failed.state, failed.attempts) == (JobState.FAILED, 1)
    assert failed.error == "an internal error; the server's log has the cause"


async def test_a_cancelled_record_stops_the_drawing_however_it_was_cancelled(
    engine: Engine, tmp_path: Path, redis: RedisServer
) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, redis.url) as desk:
        job = await desk.submit(order(request(num_inference_steps=900, progress=True)))
        await _first_step(desk, job)
        other = RedisLedger(redis.url, timedelta(hours=1))
        await other.change(job.id, Job.cancelled)
        await other.close()
        await until(lambda: not engine.running)


async def test_a_job_that_two_cancel_ends_once(desk: JobDesk) -> None:
    job = await desk.submit(order(request(num_inference_steps=900, progress=True)))
    watching = asyncio.ensure_future(_ends(desk, job))
    await _first_step(desk, job)
    assert {j.state for j in await asyncio.gather(*(desk.cancel(job.id) for _ in range(5)))} == {JobState.CANCELLED}
    assert await watching == 1


async def _ends(desk: JobDesk, job: Job) -> int:
    async with aclosing(desk._bus.watch(job.id)) as emitted:  # type: ignore[type-var]
        ends = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(60) as limit:
                async for event in emitted:
                    if event["event"] == "cancelled":
                        ends += 1
                        limit.reschedule(asyncio.get_running_loop().time() + 3)
        return ends


async def test_a_known_key_is_answered_in_a_full_line(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, max_per_caller=1) as desk:
        job = await desk.submit(order(request(num_inference_steps=900), idempotency_key="k"))
        assert (await desk.submit(order(idempotency_key="k"))).id == job.id


async def test_a_result_that_is_gone_is_drawn_again(desk: JobDesk, storage: Storage) -> None:
    first = await finished(desk, await desk.submit(order(request(seed=5, progress=True), repeatable=True)))
    await storage.delete([first.results[0].key])
    again = await desk.submit(order(request(seed=5, progress=True), repeatable=True))
    assert (await finished(desk, again)).attempts == 1


async def test_two_desks_do_not_share_a_file(engine: Engine, tmp_path: Path) -> None:
    producer = EngineProducer(engine)
    async with job_desk(producer, tmp_path):
        with pytest.raises(LedgerUnavailable):
            async with job_desk(producer, tmp_path):
                pass


async def test_redis_may_come_after_the_server(engine: Engine, tmp_path: Path, storage: Storage) -> None:
    redis = RedisServer(tmp_path)
    async with job_desk(EngineProducer(engine), tmp_path, redis.url, storage) as desk:
        with pytest.raises(LedgerUnavailable):
            await desk.submit(order())
        with redis.running():
            job = await desk.submit(order())
            assert (await finished(desk, job)).state is JobState.COMPLETED


async def test_a_late_watcher_sees_no_progress_going_back(desk: JobDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first event is the desk's own report when the bus takes its time; what the bus kept follows it."""
    job = await desk.submit(order(request(progress=True, num_inference_steps=60)))
    async with aclosing(desk.watch(job.id)) as emitted:
        async for event in emitted:
            if event.get("step") == 20:
                break
    at_once = desk._bus.watch

    async def slowly(job_id: str) -> AsyncIterator[JobEvent]:
        await asyncio.sleep(0.05)
        async for event in at_once(job_id):
            yield event

    monkeypatch.setattr(desk._bus, "watch", slowly)
    async with aclosing(desk.watch(job.id)) as emitted:
        progress = [event["progress"] async for event in emitted]
    assert progress == sorted(progress)
