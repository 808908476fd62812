"""What is heard of a download while it goes on: by waiting requests, in the state, and in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from api.openai.socket import _render_event
from api.typed.streaming import _event_text
from core.generation.events import Download, Loading, Picture
from jobs.generation import _update
from models.catalogue.entry import Entry
from models.catalogue.sources import Source
from models.weights.fetching.downloads import DownloadMeter, reporting_downloads
from models.weights.fetching.fetch import local_path
from tests.support.engine.drawing import photo, request
from tests.support.engine.hosts import hosting
from tests.support.servers.serving import ENTRY_FIELDS, parse_events
from tests.support.surroundings.small_hub import Repository, SmallHub, small_hub
from tests.tiny.controlnets import tiny_controlnets
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion

URL_PATH = "/{repo_id}/resolve/{revision}/{filename}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub that the client of this process uses, with a cache that is empty."""
    with small_hub({"someone/tiny": Repository(folder)}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.address)
        monkeypatch.setattr(hf_api.api, "endpoint", hub.address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + URL_PATH)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub


def fetched_bytes(hub: SmallHub) -> int:
    return sum(int(line.split()[1]) for line in hub.fetched)


def largest(folder: Path) -> Path:
    return max(folder.rglob("*.safetensors"), key=lambda file: file.stat().st_size)


async def test_requests_state_and_log_hear_how_far_a_download_is(
    hub: SmallHub, caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    caplog.set_level(logging.INFO, "jubako.loading")
    entry = Entry.model_validate(
        {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": {"repo": "someone/tiny"}}
    )
    # The largest file comes once somebody has heard that it is still missing.
    hub.held, hub.may_go = largest(folder).relative_to(folder).as_posix(), threading.Event()
    states: list[dict[str, Any]] = []
    async with hosting(entry) as host:
        events = []
        async for event in host.generate(request()):
            events.append(event)
            if isinstance(event, Loading) and event.download is not None and event.download.done_bytes:
                states.append(host.state().as_json())
                hub.may_go.set()
        assert isinstance(events[-1], Picture)
        assert "download" not in host.state().as_json(), "it is here"
    heard = [event.download for event in events if isinstance(event, Loading) and event.download]
    assert 0 < heard[0].done_bytes < heard[0].total_bytes
    # Known from the first moment, and true: diffusers reads the index once more, by itself.
    assert heard[0].total_bytes >= largest(folder).stat().st_size
    assert heard[-1].total_bytes <= fetched_bytes(hub)
    assert states[0]["state"] == "loading"
    assert set(states[0]["download"]) == {"done_bytes", "total_bytes", "bytes_per_s"}
    assert "downloading tiny: " in caplog.text
    assert "(100%)" in caplog.text


async def test_what_a_request_needs_beside_the_model_is_heard_of_too(
    hub: SmallHub, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jubako.loading")
    tiny_controlnets(folder, tmp_path)
    net = tmp_path / "canny"
    hub.repositories = {"someone/net": Repository(net)}
    controlnets = {"canny": {"source": {"repo": "someone/net"}}}
    fields = {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": {"path": folder}}
    entry = Entry.model_validate({**fields, "controlnets": controlnets})
    hub.held, hub.may_go = largest(net).relative_to(net).as_posix(), threading.Event()
    states: list[dict[str, Any]] = []
    async with hosting(entry) as host:
        await host.load()
        events = []
        async for event in host.generate(request(control_image=photo(), control_type="canny")):
            events.append(event)
            if isinstance(event, Loading):
                states.append(host.state().as_json())
                hub.may_go.set()
        assert isinstance(events[-1], Picture)
        assert "download" not in host.state().as_json(), "it is here"
    heard = [event for event in events if isinstance(event, Loading)]
    assert heard[0].download is not None
    assert 0 < heard[0].progress < 1
    assert (states[0]["state"], set(states[0]["download"])) == ("ready", {"done_bytes", "total_bytes", "bytes_per_s"})
    assert "downloading the ControlNet canny: " in caplog.text


def test_one_file_is_measured_too_and_what_is_here_is_not(hub: SmallHub, folder: Path) -> None:
    name = largest(folder).relative_to(folder).as_posix()
    for expected in ([Download(size := largest(folder).stat().st_size, size, 0)], []):
        heard: list[Download] = []
        with reporting_downloads("tiny", heard.append):
            local_path(Source(repo="someone/tiny", file=name))
        assert [asdict(each) | {"bytes_per_s": 0} for each in heard[-1:]] == [asdict(each) for each in expected]


def test_every_tenth_every_ten_seconds_and_the_end_are_logged_with_the_speed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jubako.loading")

    class Counted:
        n, bytes = 0, 100_000_000

    heard: list[Download] = []
    now_s, bar = [0.0], Counted()
    meter = DownloadMeter("sdxl", heard.append, lambda: now_s[0])
    meter.add(bar)  # type: ignore[arg-type]  # all that is read of a bar
    for _ in range(24):
        now_s[0] += 1
        meter.move(bar, 500_000)  # type: ignore[arg-type]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "downloading sdxl: 5.0 of 100.0 MB (5%), 0.5 MB/s"
    assert len(lines) == 2
    assert {each.bytes_per_s for each in heard} == {500_000}
    meter.move(bar, 10_000_000)  # type: ignore[arg-type]
    assert len(caplog.records) == 3
    for count in (71_000_000, 7_000_000, 0):
        meter.move(bar, count)  # type: ignore[arg-type]
    assert ["(93%)" in caplog.messages[3], "(100%)" in caplog.messages[4], len(caplog.messages)] == [True, True, 5]


def test_jobs_hear_of_a_download() -> None:
    update = _update(Loading(0.0, Download(1, 2, 3)))
    assert update.message == "Downloading the model"
    assert update.details["download"] == {"done_bytes": 1, "total_bytes": 2, "bytes_per_s": 3}


def test_streams_and_sockets_hear_of_a_download() -> None:
    event = Loading(0.0, Download(1, 2, 3))
    fields = {"progress": 0.0, "download": {"done_bytes": 1, "total_bytes": 2, "bytes_per_s": 3}}
    # Nothing else matters to an event that is not a result.
    other: Any = None
    (sent,) = parse_events([_event_text(event, other, other, 0)])
    assert (sent.name, sent.data) == ("loading", fields)
    assert _render_event(event, other, other) == {"type": "loading", **fields}
