"""A runner by itself, as gateways on other machines meet it: its door, and several of them as one."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from core.errors import Busy, GenerationFailed, InvalidRequest, StartError
from core.generation.events import Event, Picture, Step
from core.generation.request import GenerationRequest, Task
from gateway.runner_client import RunnerClient
from gateway.runner_load import tokens_of
from gateway.runner_pool import RunnerPool
from models.catalogue.serving.served_models import served_catalogue
from processes.service_session import IDLE_S, open_session
from runners.remote import remote_runners
from runners.service import service_alone
from runners.wire import BadFrameError, decode_request, encode_request
from settings import Settings
from tests.support.engine.drawing import request
from tests.support.pickles import PICKLE, Attack
from tests.support.raw_sockets import said_to
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import free_port, wait_for, write_tiny_catalogue
from tests.support.web import WEB

KEY = "a key that runners share"
METRICS_KEY = "a key of Prometheus"
TASKS = (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("alone"))
    keys = {"JUBAKO_RUNNER_KEY": KEY, "JUBAKO_METRICS_KEY": METRICS_KEY}
    with replica(catalogue, "runners.alone:service", **keys, JUBAKO_CLIENT_TIMEOUT_S="3") as server:
        yield server


@pytest.fixture
async def pool_of(runner: Replica) -> AsyncIterator[Callable[..., RunnerPool]]:
    pools = []

    def make(*urls: str, key: str = KEY) -> RunnerPool:
        pools.append(RunnerPool("tiny", [RunnerClient("tiny", url, key) for url in urls]))
        return pools[-1]

    yield make
    for pool in pools:
        await pool.close()


async def events_of(pool: RunnerPool, wanted: GenerationRequest) -> list[Event]:
    async with aclosing(pool.generate(wanted)) as happenings:
        return [event async for event in happenings]


class TestTheDoor:
    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
    def test_who_has_not_the_key_is_turned_away(self, runner: Replica, headers: dict[str, str]) -> None:
        for path in ("/generate", "/state", "/load", "/unload", "/docs.json"):
            assert WEB.post(f"{runner.url}{path}", headers=headers, json={}).status_code == 401
        assert runner.get("/readyz").status_code == 200

    @pytest.mark.parametrize("path", ["/generate", "/state", "/load", "/unload"])
    @pytest.mark.parametrize("media_type", [PICKLE, PICKLE.upper(), f"{PICKLE}; a=b", "application/octet-stream"])
    def test_pickles_are_not_read(self, runner: Replica, path: str, media_type: str, tmp_path: Path) -> None:
        file = tmp_path / "touched"
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": media_type}
        answer = WEB.post(f"{runner.url}{path}", headers=headers, content=pickle.dumps({"request": Attack(file)}))
        assert answer.status_code == 415 or (answer.status_code >= 400 and media_type not in PICKLE)
        assert not file.exists()

    def test_metrics_have_a_key_of_their_own_and_no_paths(self, runner: Replica) -> None:
        keys = {"": 401, "wrong": 401, KEY: 200, METRICS_KEY: 200}
        for number in range(5):
            runner.get(f"/secret-{number}")
        answers = {key: self.metrics(runner, key) for key in keys}
        assert {key: answer.status_code for key, answer in answers.items()} == keys
        assert 'endpoint="other"' in answers[METRICS_KEY].text
        assert not any("secret" in answer.text for answer in answers.values())

    @staticmethod
    def metrics(runner: Replica, key: str) -> httpx.Response:
        return WEB.get(f"{runner.url}/metrics", headers={"Authorization": f"Bearer {key}"} if key else {})

    @pytest.mark.parametrize(("target", "status"), [("nowhere", 400), ("*", 400), ("/" + "a" * 2048, 414)])
    def test_bad_targets_are_refused(self, runner: Replica, target: str, status: int) -> None:
        answer = said_to(runner.url, f"POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert int(answer.split()[1]) == status

    def test_half_a_head_is_not_waited_for(self, runner: Replica) -> None:
        assert said_to(runner.url, b"POST /generate HTTP/1.1\r\n") == b""

    def test_what_is_too_long_is_not_read(self, runner: Replica) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        unknown = WEB.post(f"{runner.url}/state", headers=headers, content=iter([b"{}"]))
        assert unknown.status_code == 411
        connection = HTTPConnection("127.0.0.1", runner.port, timeout=60)
        connection.request("POST", "/generate", headers=headers | {"Content-Length": str(2**30)})
        assert connection.getresponse().status == 413

    @pytest.mark.parametrize(
        "frame",
        [b"garbage", b'{"request": {}, "images": [["image", "RGB", [100000, 100000]]]}\n'],
        ids=["garbage", "huge"],
    )
    def test_what_is_no_request_is_refused(self, runner: Replica, frame: bytes) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/octet-stream"}
        assert WEB.post(f"{runner.url}/generate", headers=headers, content=frame).status_code == 400


@pytest.mark.parametrize("task", TASKS)
def test_requests_survive_the_hop(task: Task) -> None:
    wanted = request(task, seed=2**62, prompt="ein Apfel\nund 🍎")
    assert decode_request(encode_request(wanted)) == wanted


def test_a_request_that_was_cut_is_an_error() -> None:
    with pytest.raises(BadFrameError, match="claims"):
        decode_request(encode_request(request(Task.INPAINT))[:-1])


class TestAPool:
    async def test_it_draws(self, runner: Replica, pool_of: Callable[..., RunnerPool]) -> None:
        happened = await events_of(pool_of(runner.url), request(Task.INPAINT))
        assert isinstance(happened[-1], Picture)

    async def test_one_that_is_gone_is_passed_over(self, runner: Replica, pool_of: Callable[..., RunnerPool]) -> None:
        gone = f"http://127.0.0.1:{free_port()}"
        pool = pool_of(gone, runner.url)
        for _ in range(3):
            assert isinstance((await events_of(pool, request()))[-1], Picture)
        state = await pool.state()
        assert state.state == "ready"
        assert sorted(each.state for each in state.runners or ()) == ["ready", "starting"]

    async def test_when_all_are_gone_callers_may_come_again(self, pool_of: Callable[..., RunnerPool]) -> None:
        pool = pool_of(*(f"http://127.0.0.1:{free_port()}" for _ in range(2)))
        for _ in range(2):
            with pytest.raises(Busy) as caught:
                await events_of(pool, request())
            assert (caught.value.retry_after_s or 0) > 0
        assert (await pool.state()).state == "starting"

    async def test_another_key_is_as_good_as_none(self, runner: Replica, pool_of: Callable[..., RunnerPool]) -> None:
        with pytest.raises(Busy):
            await events_of(pool_of(runner.url, key="another key of the same length"), request())

    async def test_what_a_runner_refuses_is_not_tried_again(
        self, runner: Replica, pool_of: Callable[..., RunnerPool]
    ) -> None:
        with pytest.raises(GenerationFailed, match="refuses") as caught:
            await events_of(pool_of(runner.url), request().model_copy(update={"seed": "any"}))
        assert caught.value.retry_after_s is None

    async def test_the_least_busy_is_next(self, runner: Replica, pool_of: Callable[..., RunnerPool]) -> None:
        pool = pool_of(runner.url, runner.url.replace("127.0.0.1", "localhost"))
        long = [pool.generate(request(num_inference_steps=400)) for _ in range(4)]
        for happenings in long:
            await anext(happenings)
        assert [load.in_hand for load in pool._loads.values()] == [2 * tokens_of(request(num_inference_steps=400))] * 2
        for happenings in long:
            await happenings.aclose()
        assert [load.in_hand for load in pool._loads.values()] == [0, 0]

    async def test_it_unloads_and_loads_again(self, runner: Replica, pool_of: Callable[..., RunnerPool]) -> None:
        pool = pool_of(runner.url)
        assert (await pool.unload()).state == "unloaded"
        with pytest.raises(InvalidRequest, match="device"):
            await pool.load("cuda:9")
        await pool.load()
        assert isinstance((await events_of(pool, request()))[-1], Picture)


async def test_no_connection_is_used_that_its_server_may_be_closing() -> None:
    connections = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        host, port = listening.sockets[0].getsockname()
        async with open_session(f"http://{host}:{port}", "runner-tiny") as session:
            for idle_s, opened in ((0, 1), (0.2, 1), (IDLE_S + 0.5, 2)):
                await asyncio.sleep(idle_s)
                assert (await session.get("/")).status == 200
                assert len(connections) == opened
    # As bentoml and uvicorn have it by default.
    assert uvicorn.Config("").timeout_keep_alive > IDLE_S


async def test_one_that_is_told_to_stop_finishes_its_picture_and_takes_no_other(
    runner: Replica, pool_of: Callable[..., RunnerPool]
) -> None:
    with replica(runner.catalogue, "runners.alone:service", JUBAKO_RUNNER_KEY=KEY, JUBAKO_DRAIN_S="300") as ending:
        pool = pool_of(ending.url)
        async with aclosing(pool.generate(request(num_inference_steps=900, progress=True))) as happenings:
            async for event in happenings:
                if isinstance(event, Step):
                    break
            ending.ask_to_stop()
            await asyncio.to_thread(wait_for, lambda: ending.get("/readyz").status_code == 503)
            with pytest.raises(Busy):
                await events_of(pool_of(ending.url), request())
            assert isinstance([event async for event in happenings][-1], Picture)
        assert ending.stopped() == 0


class TestStarts:
    def settings(self, runner: Replica, **more: Any) -> Settings:
        values: dict[str, Any] = {"catalogue": runner.catalogue, "JUBAKO_MODELS": "tiny", **more}
        return Settings(**values)

    def test_a_runner_by_itself_needs_a_key_and_one_model(self, runner: Replica) -> None:
        with pytest.raises(StartError, match="JUBAKO_RUNNER_KEY"):
            service_alone(self.settings(runner))
        with pytest.raises(StartError, match="one model"):
            service_alone(self.settings(runner, JUBAKO_MODELS="tiny,tiny-xl", runner_key=KEY))

    def test_a_gateway_needs_the_key_and_knows_the_models(self, runner: Replica) -> None:
        for runners, key, words in (
            ("tiny=http://a:1", None, "JUBAKO_RUNNER_KEY"),
            ("tyni=http://a:1", KEY, "tyni"),
        ):
            wanted = self.settings(runner, runners=runners, **({"runner_key": key} if key else {}))
            with pytest.raises(StartError, match=words):
                remote_runners(wanted, served_catalogue(wanted))

    @pytest.mark.parametrize(
        "wrong", ["tiny", "tiny=", "tiny=a:1", "tiny=ftp://a", "tiny=http://a|", "tiny=http://a/b"]
    )
    def test_what_is_no_address_is_refused(self, runner: Replica, wrong: str) -> None:
        with pytest.raises(ValueError, match="tiny"):
            self.settings(runner, runners=wrong)
