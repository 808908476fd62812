"""The container image: built for real, and run as an orchestrator would, without rights, on a read-only root."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name
from PIL import Image
from playwright.sync_api import expect

from tests.support.browser import CHROMIUM, browsing
from tests.support.servers.serving import wait_for, write_tiny_catalogue
from tests.support.storyboard.judged import seen_in
from tests.support.surroundings.containers import USER, Container, ImageStore, can_build, container, image_store
from tests.support.surroundings.package_sources import build_volumes
from tests.support.ui_page import open_tab
from tools.supply.lock import pins

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(not can_build(), reason="needs root, buildah, debootstrap and runc: tools/need-buildah"),
]
BASE = "localhost/debian-python"
IMAGE = "localhost/jubako:cpu-tiny-xl"
LONG = 900
"""Steps of a picture that takes seconds."""
RED_APPLE = {"prompt": "a red apple"}
SLOWED: dict[str, Any] = {"JUBAKO_BATCH_TOKENS": "64", "JUBAKO_MAX_RUNNING": "2"}
DRAIN_S = 25.0
JOBS = 16
"""More than is generated in that time, so that some are unfinished, and no minutes of work for the next container."""
ENDING_S = 15.0
"""Generous: what processes take to end once they have nothing in hand."""
FINAL = ("completed", "failed", "cancelled")
DRAW = """
import json, sys, urllib.request
body = json.dumps({{"prompt": "a red apple"}}).encode()
request = urllib.request.Request("http://127.0.0.1:{port}/text_to_image", body, {{"Content-Type": "application/json"}})
sys.stdout.buffer.write(urllib.request.urlopen(request, timeout=60).read())
"""


@dataclass(frozen=True)
class Built:
    store: ImageStore
    report: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The CPU image, on a base of Debian's packages, with a tiny checkpoint in it."""
    folder = tmp_path_factory.mktemp("images")
    with image_store(folder / "store", build_volumes(folder)) as store:
        store.run("tools/debian-base", BASE)
        command = [sys.executable, "-m", "deploy.image", "cpu", "--base", BASE, "--carry", "tiny-xl"]
        report = store.run(
            *command,
            *("--image", "--backend", "buildah"),
            BENTOML_HOME=str(folder / "bentoml"),
            JUBAKO_CATALOGUE=str(write_tiny_catalogue(folder)),
        )
        yield Built(store, report)


@pytest.fixture
def server(built: Built, tmp_path: Path) -> Iterator[Container]:
    """A container of both models: of those that its Bento was built with, and of another."""
    with container(built.store, IMAGE, tmp_path, JUBAKO_MODELS="miniature,tiny-xl", **SLOWED) as server:
        yield server


def test_image_has_what_serves_and_no_more(built: Built) -> None:
    assert built.store.config(IMAGE)["User"] == "bentoml"
    assert "carried tiny-xl:" in built.report
    assert "MB" in built.report.splitlines()[-1] or "GB" in built.report.splitlines()[-1]
    with built.store.mounted(IMAGE) as root:
        names = {
            path.name for folder in ("usr/bin", "usr/local/bin", "app/.venv/bin") for path in (root / folder).iterdir()
        }
        assert names.isdisjoint({"gcc", "cc", "g++", "make", "ld", "git", "pip", "pip3", "uv", "uvx"})
        assert "bentoml" in names
        # What was mounted for the build is not in it.
        assert all(
            (root / file).stat().st_size == 0 for file in ("etc/pip.conf", "etc/uv/uv.toml") if (root / file).exists()
        )
        assert not list((root / "app/.venv").glob("lib/*/site-packages/nvidia/cu*"))


def test_bill_of_materials_has_the_lock_and_the_base(built: Built, tmp_path: Path) -> None:
    file = tmp_path / "jubako.cdx.json"
    built.store.run(sys.executable, "-m", "tools.supply.sbom", IMAGE, str(file), "--backend", "buildah")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    found = json.loads(file.read_text())["components"]
    packages = {
        canonicalize_name(each["name"]): each["version"] for each in found if "pkg:pypi/" in each.get("purl", "")
    }
    # The image has PyTorch's build for CPUs.
    assert {name: version.partition("+")[0] for name, version in packages.items()}.items() >= pins().items()
    assert any(each.get("purl", "").startswith("pkg:deb/debian/libc6@") for each in found)


def test_container_draws_without_rights_on_a_read_only_root(server: Container) -> None:
    answer = server.post("/text_to_image", prompt="a red apple on a blue background", seed=1)
    assert answer.status_code == 200, answer.text
    assert seen_in(Image.open(BytesIO(answer.content))) == "apple"
    assert {process.uids().real for process in _processes(server)} == {USER}
    assert server.execute("touch", "/home/bentoml/file").returncode != 0
    assert server.execute("touch", "/data/file").returncode == 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")
def test_its_page_draws_an_example(server: Container) -> None:
    with browsing(server.url) as browsed, open_tab(browsed, "Create") as page:
        page.get_by_role("button", name="a red apple on a blue background").click()
        expect(page.locator("#create-images img").first).to_be_visible()


def test_told_to_stop_it_drains_and_its_jobs_go_on_in_the_next(built: Built, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"JUBAKO_MODELS": "tiny-xl", "JUBAKO_DRAIN_S": str(DRAIN_S), **SLOWED}
    with container(built.store, IMAGE, tmp_path, **settings) as server:
        jobs = [_submit(server, seed) for seed in range(JOBS)]
        with server.stream("/stream", num_inference_steps=LONG // 3, priority=0, **RED_APPLE) as lines:
            assert "event: started" in lines
            told = time.monotonic()
            server.ask_to_stop()
            wait_for(lambda: server.get("/readyz").status_code == 503)
            refused = server.post("/text_to_image", **RED_APPLE)
            assert refused.status_code == 503
            assert int(refused.headers["retry-after"]) > 0
            assert "event: image" in lines
        assert server.ended(DRAIN_S + ENDING_S) == 0
        assert time.monotonic() - told < DRAIN_S + ENDING_S
    with container(built.store, IMAGE, tmp_path, JUBAKO_MODELS="tiny-xl") as server:
        wait_for(lambda: all(_status(server, job)["status"] in FINAL for job in jobs), 240)
        ends = [_status(server, job) for job in jobs]
        assert [end["error"] for end in ends] == [None] * len(jobs)
        assert any(end["attempts"] == 2 for end in ends), "not one was unfinished when the first container ended"


def test_carried_weights_are_served_without_a_network(built: Built, tmp_path: Path) -> None:
    with container(built.store, IMAGE, tmp_path, online=False) as server:
        drawn = server.execute("python", "-c", DRAW.format(port=server.port))
        assert drawn.returncode == 0, server.log[-5000:]
        assert Image.open(BytesIO(drawn.stdout)).size == (64, 64)


def _submit(server: Container, seed: int) -> str:
    answer = server.post("/api/tiny-xl/t2i", num_inference_steps=LONG, seed=seed, **RED_APPLE)
    session_id: str = answer.json()["session_id"]
    return session_id


def _status(server: Container, session_id: str) -> dict[str, Any]:
    body: dict[str, Any] = server.get(f"/api/{session_id}/status").json()
    return body


def _processes(server: Container) -> list[psutil.Process]:
    """All of the container, but for runc itself."""
    runc = psutil.Process(server.pid)
    processes: list[psutil.Process] = runc.children(recursive=True)
    return processes
