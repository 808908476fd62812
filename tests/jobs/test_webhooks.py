"""Webhooks: signed, tried again until the receiver answers, and never sent into private networks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.caller import Caller
from core.errors import InvalidRequest
from jobs.desk.caller_desk import CallerDesk
from jobs.desk.desk import JobDesk
from jobs.job import Job, JobState
from jobs.queue import MEMORY, QueueSettings
from jobs.webhooks.public_addresses import is_public
from jobs.webhooks.sender import MAX_ATTEMPTS, check_webhook_url, secret_of
from runners.engine.engine import Engine
from tests.support.engine.drawing import request
from tests.support.engine.job_desk import SECRET, EngineProducer, finished, job_desk, order
from tests.support.surroundings.receiver import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def desk(engine: Engine, tmp_path: Path) -> AsyncIterator[JobDesk]:
    async with job_desk(EngineProducer(engine), tmp_path) as desk:
        yield desk


async def told(desk: JobDesk, url: str) -> Job:
    """Submit a job and wait until its webhook needs no further attempt."""
    job = await desk.submit(order(webhook_url=url))
    async with asyncio.timeout(30):
        while not (await desk.get(job.id)).told:  # noqa: ASYNC110, since a told webhook is told to nobody else
            await asyncio.sleep(0.01)
    return await desk.get(job.id)


async def test_the_receiver_hears_of_the_end_once(desk: JobDesk, receiver: Receiver) -> None:
    job = await told(desk, receiver.url)
    assert [delivery.status for delivery in job.deliveries] == [200]
    assert len(receiver.heard) == 1
    assert b'"status": "completed"' in receiver.heard[0][1]


async def test_the_signature_is_what_plain_hmac_says(desk: JobDesk, receiver: Receiver) -> None:
    job = await told(desk, receiver.url)
    headers, body = receiver.heard[0]
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-id"] == job.id
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60


async def test_each_key_has_a_secret_of_its_own(desk: JobDesk, receiver: Receiver) -> None:
    (job,) = await CallerDesk(desk, Caller("alice")).submit(order(webhook_url=receiver.url))
    await finished(desk, job)
    async with asyncio.timeout(20):
        while not receiver.heard:  # noqa: ASYNC110, as above
            await asyncio.sleep(0.01)
    headers, body = receiver.heard[0]
    shown = secret_of("alice", SECRET)
    assert shown.startswith("whsec_")
    assert len({shown, secret_of("bob", SECRET), secret_of("alice", "another secret"), SECRET}) == 4
    key = base64.b64decode(shown.removeprefix("whsec_"))
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"." + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_a_receiver_that_fails_is_told_again(desk: JobDesk, receiver: Receiver) -> None:
    receiver.statuses = [500, 302]
    job = await told(desk, receiver.url)
    assert [delivery.status for delivery in job.deliveries] == [500, 302, 200]


async def test_a_receiver_that_wants_no_more_is_left_alone(desk: JobDesk, receiver: Receiver) -> None:
    receiver.statuses = [410]
    assert [delivery.status for delivery in (await told(desk, receiver.url)).deliveries] == [410]


async def test_a_receiver_that_never_answers_is_given_up(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, webhook_pause=timedelta(microseconds=1)) as desk:
        job = await told(desk, "http://127.0.0.1:1/hook")
    assert len(job.deliveries) == MAX_ATTEMPTS
    assert {delivery.detail for delivery in job.deliveries} == {"could not be reached"}


async def test_what_was_not_told_is_told_after_a_restart(engine: Engine, tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500]
    async with job_desk(EngineProducer(engine), tmp_path, webhook_pause=timedelta(hours=1)) as desk:
        job = await desk.submit(order(webhook_url=receiver.url))
        await finished(desk, job)
        async with asyncio.timeout(20):
            while not (await desk.get(job.id)).deliveries:  # noqa: ASYNC110, as above
                await asyncio.sleep(0.01)
    async with job_desk(EngineProducer(engine), tmp_path) as desk, asyncio.timeout(20):
        while not (await desk.get(job.id)).told:  # noqa: ASYNC110, as above
            await asyncio.sleep(0.01)
    assert len(receiver.heard) == 2


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *(
            "::1",
            "fe80::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "224.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "::7f00:1",
            "fec0::1",
        ),
    ],
)
async def test_private_addresses_are_refused(address: str) -> None:
    assert not is_public(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidRequest, match="webhook_url: leads to a private address"):
        await check_webhook_url(f"http://{host}/hook", allow_private=False)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700::1111"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("hook", "http or https"),
        ("http:///hook", "http or https"),
        ("http://[bad/", "not an address"),
        ("http://example.com:abc/", "not an address"),
        ("http://a..b/", "cannot be found"),
        ("http://user:password@example.com/", "user name"),
        ("http://localhost/hook", "private"),
        ("http://localtest.invalid/", "cannot be found"),
    ],
)
async def test_other_addresses_are_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await check_webhook_url(url, allow_private=False)


async def test_a_name_that_turns_private_later_is_not_called(
    engine: Engine, tmp_path: Path, receiver: Receiver
) -> None:
    """The address is looked at again at the moment of connecting: here it is allowed at first, then no longer."""
    async with job_desk(EngineProducer(engine), tmp_path) as desk:
        object.__setattr__(desk._sender, "allow_private", False)
        port = receiver.url.split(":")[2]
        job = await desk.submit(order(webhook_url=f"http://localhost:{port}"))
        async with asyncio.timeout(20):
            while not (await desk.get(job.id)).deliveries:  # noqa: ASYNC110, as above
                await asyncio.sleep(0.01)
        assert (await desk.get(job.id)).deliveries[0].detail == "leads to a private address"
    assert receiver.heard == []


async def test_without_a_secret_there_are_no_webhooks(engine: Engine, tmp_path: Path, receiver: Receiver) -> None:
    async with job_desk(EngineProducer(engine), tmp_path, webhook_secret=None) as desk:
        with pytest.raises(InvalidRequest, match="JUBAKO_WEBHOOK_SECRET"):
            await desk.submit(order(webhook_url=receiver.url))


async def test_webhooks_do_not_wait_behind_jobs(engine: Engine, tmp_path: Path, receiver: Receiver) -> None:
    one_at_a_time = QueueSettings(f"{MEMORY}{uuid.uuid4()}", concurrency=1, redelivery=timedelta(seconds=2))
    async with job_desk(EngineProducer(engine), tmp_path, queue=one_at_a_time) as desk:
        first = await desk.submit(order(webhook_url=receiver.url))
        last = [await desk.submit(order(request(num_inference_steps=900))) for _ in range(3)][-1]
        await finished(desk, first)
        async with asyncio.timeout(20):
            while not receiver.heard:  # noqa: ASYNC110, as above
                await asyncio.sleep(0.01)
        assert (await desk.get(last.id)).state is JobState.PENDING


async def test_a_record_stays_until_its_webhook_is_told(engine: Engine, tmp_path: Path, receiver: Receiver) -> None:
    receiver.statuses = [500]
    async with job_desk(EngineProducer(engine), tmp_path, webhook_pause=timedelta(hours=1)) as desk:
        job = await finished(desk, await desk.submit(order(webhook_url=receiver.url)))
    assert job.kept_from is None
