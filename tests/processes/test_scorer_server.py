"""The scorer's own process: what it loads, how its calls share batches, and what is said while it is away."""

from __future__ import annotations

import asyncio
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from core.errors import Busy, LoadFailed
from models.catalogue.sources import Source
from processes.service_session import open_session
from storyboard.scoring.client import ScorerClient
from storyboard.scoring.clip_model import ClipScoringModel
from storyboard.scoring.pairs import ImageTextPair
from tests.support.pickles import PICKLE, Attack
from tests.support.servers.process_tree import started_by
from tests.support.servers.serving import ROOT, free_port, photo, wait_for
from tests.support.storyboard.clips import MINIATURE, noise
from tests.support.web import WEB

SERVICE = """
import bentoml
from storyboard.scoring.service import scorer_service

Worker = scorer_service("cpu")

@bentoml.service
class Front:
    worker = bentoml.depends(Worker)

    @bentoml.api
    def address(self) -> str:
        return Worker.url
"""


@contextmanager
def scorer_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the scorer behind a front, as on a server; yield its address and the pid of the whole."""
    (folder / "scoring_bento.py").write_text(SERVICE)
    port = free_port()
    environment = os.environ | {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bentoml", "serve", "scoring_bento:Front", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    front = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _is_ready(front), timeout_s=300)
        yield WEB.post(f"{front}/address", json={}).text.strip('"'), server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return WEB.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def scorer_process(server_pid: int) -> psutil.Process:
    return next(iter(started_by(server_pid, lambda command: "runner-scorer" in command)))


@asynccontextmanager
async def client(url: str) -> AsyncIterator[ScorerClient]:
    client = ScorerClient(url)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def all_connected(server_pid: int, calls: int) -> AsyncIterator[None]:
    """Stop the scorer until so many calls have come to it: on a busy machine they would trickle in one by one."""
    process = scorer_process(server_pid)
    process.suspend()
    try:
        yield
        here = psutil.Process()
        async with asyncio.timeout(60):
            while len(here.net_connections("all")) < calls:  # noqa: ASYNC110, since no event says so
                await asyncio.sleep(0.01)
    finally:
        process.resume()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with scorer_server(tmp_path_factory.mktemp("scorer")) as server:
        yield server


@pytest.fixture(scope="module")
def libraries_at_start(started: tuple[str, int]) -> list[str]:
    return [Path(file.path).name for file in scorer_process(started[1]).memory_maps()]


@pytest.fixture
def served(started: tuple[str, int], libraries_at_start: list[str]) -> tuple[str, int]:
    """The server, whose libraries were listed before any test sent a request."""
    return started


class TestTheServer:
    def test_is_small_until_it_is_needed(self, libraries_at_start: list[str]) -> None:
        assert not [name for name in libraries_at_start if name.startswith("libtorch")]

    async def test_scores_as_here_and_calls_of_all_stories_share_batches(
        self, served: tuple[str, int], tiny_clip_source: Source
    ) -> None:
        pairs: list[ImageTextPair] = [(noise(seed), f"text {seed}") for seed in range(40)]
        async with client(served[0]) as one, client(served[0]) as other:
            for pair in pairs[:14]:  # BentoML learns from so many how long a batch takes; they are run one by one.
                await one.compare(tiny_clip_source, pair)
            await other.compare(tiny_clip_source, pairs[0])
            before = await batches(served[0])
            async with all_connected(served[1], len(pairs)):
                stories = asyncio.gather(
                    *(
                        (one if number % 2 else other).compare(tiny_clip_source, pair)
                        for number, pair in enumerate(pairs)
                    )
                )
            scores = await stories
            assert scores == pytest.approx(ClipScoringModel.load(tiny_clip_source, "cpu").cosines(pairs), abs=1e-5)
            calls, passes = (now - then for now, then in zip(await batches(served[0]), before, strict=True))
        assert calls == len(pairs)
        assert passes <= len(pairs) / 2

    async def test_several_clips_are_kept_apart(self, served: tuple[str, int], tiny_clip_source: Source) -> None:
        pair = (photo(), "a red apple")
        async with client(served[0]) as scorer:
            scores = await asyncio.gather(
                *(scorer.compare(source, pair) for source in (tiny_clip_source, MINIATURE) * 8)
            )
        for place, source in enumerate((tiny_clip_source, MINIATURE)):
            assert scores[place::2] == pytest.approx(
                [ClipScoringModel.load(source, "cpu").cosines([pair])[0]] * 8, abs=1e-5
            )

    @pytest.mark.parametrize(
        ("media_type", "status"), [(PICKLE, 415), ("application/octet-stream", 400)], ids=["pickle", "garbage"]
    )
    async def test_reads_nothing_but_its_own_frames(
        self, served: tuple[str, int], media_type: str, status: int, tmp_path: Path
    ) -> None:
        body = pickle.dumps({"asked": Attack(tmp_path / "touched")})
        headers = {"Content-Type": media_type}
        async with (
            open_session(served[0], "runner-scorer") as session,
            session.post("/cosines", data=body, headers=headers) as answer,
        ):
            assert answer.status == status
        assert not (tmp_path / "touched").exists()

    async def test_says_why_a_clip_is_not_there(self, served: tuple[str, int], tmp_path: Path) -> None:
        async with client(served[0]) as scorer:
            with pytest.raises(LoadFailed, match=r"cannot be compared.*no-such-folder"):
                await scorer.compare(Source(path=tmp_path / "no-such-folder"), (photo(), "a"))

    async def test_is_busy_while_it_is_away_and_is_back_by_itself(
        self, served: tuple[str, int], tiny_clip_source: Source
    ) -> None:
        async with client(served[0]) as scorer:
            before = await scorer.compare(tiny_clip_source, (photo(), "a"))
            scorer_process(served[1]).kill()
            with pytest.raises(Busy):
                await scorer.compare(tiny_clip_source, (photo(), "a"))
            # The next call waits for the new process, which has nothing loaded; it is busy if that takes too long.
            after = None
            async with asyncio.timeout(200):
                while after is None:
                    with suppress(Busy):
                        after = await scorer.compare(tiny_clip_source, (photo(), "a"))
            assert after == pytest.approx(before)


async def test_a_scorer_that_is_not_there_is_busy(tiny_clip_source: Source) -> None:
    async with client(f"http://127.0.0.1:{free_port()}") as scorer:
        with pytest.raises(Busy, match="try again later"):
            await scorer.compare(tiny_clip_source, (photo(), "a"))


async def batches(url: str) -> tuple[float, float]:
    """Calls and passes so far, by BentoML's own histogram."""
    transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("file://") if url.startswith("file") else None)
    async with httpx.AsyncClient(transport=transport, base_url="http://scorer") as http:
        text = (await http.get("/metrics")).text
    return _total(text, "sum"), _total(text, "count")


def _total(text: str, kind: str) -> float:
    found = re.findall(rf"adaptive_batch_size_{kind}\{{[^}}]*\}} (\S+)", text)
    return sum(float(value) for value in found)
