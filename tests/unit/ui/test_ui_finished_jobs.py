"""The files of many jobs, as the gallery fetches them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.results import Image, Job, Result
from ui.generating.finished_jobs import FETCHED_AT_ONCE, fetched_each, request_of
from ui.generating.job_progress import save


class CountingClient:
    """Has an answer for nobody until it is asked for as many jobs as may be asked for at once."""

    def __init__(self) -> None:
        self.asked, self.most, self._full = 0, 0, asyncio.Event()

    async def results(self, _: Job) -> list[Result]:
        self.asked += 1
        self.most = max(self.most, self.asked)
        if self.asked == FETCHED_AT_ONCE:
            self._full.set()
        await self._full.wait()
        self.asked -= 1
        return []


@pytest.mark.parametrize(("end", "said"), [(1, {}), (0.5, {"guidance_end": 0.5})])
def test_a_clip_is_said_to_be_what_somebody_chose(end: float, said: dict[str, float]) -> None:
    listed = {"prompt": "a boat", "guidance_end": end, "strength": 1.0, "num_frames": 9}
    fields = request_of(_job(1)).read(httpx.Response(200, json={"input": listed}))
    assert fields == {"prompt": "a boat", "num_frames": 9, **said, "task": _job(1).task, "model": _job(1).model}


async def test_few_jobs_files_are_on_their_way_at_once() -> None:
    client: Any = CountingClient()
    jobs = [_job(number) for number in range(5 * FETCHED_AT_ONCE)]
    async with asyncio.timeout(5):
        files = await fetched_each(client, jobs, {"0": ["here.png"]})
    assert files == [["here.png"], *[[]] * (len(jobs) - 1)]
    assert client.most == FETCHED_AT_ONCE


def test_each_layer_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    files = save(_job(1), [Image(data, "image/png", seed=5) for data in (b"lower", b"upper")])
    assert [(file.name, file.read_bytes()) for file in files] == [
        ("tiny-5-1.png", b"lower"),
        ("tiny-5-2.png", b"upper"),
    ]


def _job(number: int) -> Job:
    return Job.of(
        {
            "session_id": str(number),
            "status": "completed",
            "progress": 100,
            "message": "",
            "model": "tiny",
            "task": "text-to-image",
            "error": None,
            "hint": None,
            "created_at": "2026-01-01T00:00:00+00:00",
            "results": [{"url": "/a.png", "media_type": "image/png", "seed": 1}],
        }
    )
