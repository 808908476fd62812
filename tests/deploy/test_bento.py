"""The Bento: what is in it, and that it serves from BentoML's store on its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from PIL import Image

from deploy.packing import BASE_IMAGE, EXTRAS, UV, BuildArguments, image_of
from tests.support.servers.forked import Forked, forked_server, run_forked
from tests.support.servers.serving import ROOT, free_port, serving_environment, wait_for, write_tiny_catalogue
from tests.support.storyboard.judged import seen_in
from tests.support.web import WEB

UPSCALE_LOCK = EXTRAS["upscale"]
LARGEST_BYTES = 40_000_000
"""Of a Bento that carries nothing but the embedded models."""


@dataclass(frozen=True)
class Store:
    """A home of BentoML's own, in a folder that also has a catalogue of tiny models."""

    folder: Path
    catalogue: Path

    def pack(self, *options: str) -> subprocess.CompletedProcess[str]:
        return run_forked(["-m", "deploy.image", *options], self.environment(), ROOT)

    def bento(self) -> Path:
        """Return the folder of the latest."""
        bentos = self.folder / "bentoml" / "bentos" / "jubako"
        return bentos / (bentos / "latest").read_text()

    def environment(self, port: int = 0) -> dict[str, str]:
        environment = serving_environment(self.catalogue, port)
        del environment["JUBAKO_MODELS"]
        return {**environment, "BENTOML_HOME": str(self.folder / "bentoml"), "HF_HUB_OFFLINE": "1"}

    @contextmanager
    def serving(self, bento: Path, **settings: str) -> Iterator[str]:
        """Serve one of its Bentos from a folder that is not the repository."""
        port = free_port()
        command = ["serve", f"jubako:{bento.name}", "--port", str(port)]
        environment = {**self.environment(port), **settings}
        server = forked_server(command, environment, self.folder, self.folder / "log", sources=bento / "src")
        try:
            wait_for(lambda: self._ready(server, port), 240)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)

    def _ready(self, server: Forked, port: int) -> bool:
        assert server.poll() is None, (self.folder / "log").read_text()[-5000:]
        try:
            return WEB.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("bentos")
    return Store(folder, write_tiny_catalogue(folder))


@pytest.fixture(scope="module")
def plain(store: Store) -> Path:
    """The Bento without further models."""
    done = store.pack("cpu")
    assert done.returncode == 0, done.stderr
    assert "the embedded model" in done.stdout
    return store.bento()


@pytest.fixture(scope="module")
def files(plain: Path) -> list[Path]:
    """All that is in its sources, before a server has compiled them."""
    return [file.relative_to(plain / "src") for file in (plain / "src").rglob("*") if file.is_file()]


def drawn(url: str, prompt: str, **fields: str) -> Image.Image:
    answer = WEB.post(f"{url}/text_to_image", json={"prompt": prompt, "seed": 1, **fields}, timeout=120)
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content))


def served(url: str) -> list[str]:
    models: list[dict[str, Any]] = WEB.get(f"{url}/models", timeout=60).json()["models"]
    return [model["id"] for model in models]


def served_page(url: str) -> Path:
    """Open `/ui`, and return the folder from which its process serves."""
    wait_for(lambda: "gradio_config" in WEB.get(f"{url}/ui/", headers={"Accept": "text/html"}).text)
    processes = psutil.process_iter(["cmdline"])
    (page,) = (each for each in processes if {"ui", "--server", url} <= set(each.info["cmdline"] or ()))
    return Path(page.environ()["PYTHONPATH"].partition(os.pathsep)[0])


def test_it_holds_what_it_needs_and_no_more(plain: Path, files: list[Path]) -> None:
    assert {file.parts[0] for file in files}.isdisjoint({"tests", "docs", "benchmarks", "tools"})
    assert {file.name for file in files if file.parts[0] == "deploy"} == {"__init__.py", "packing.py"}
    assert {file.suffix for file in files}.isdisjoint({".jpg", ".png", ".pyc", ".sqlite"})
    miniature = {file.name for file in files if file.parts[:2] == ("models", "miniature") and len(file.parts) == 3}
    assert miniature.isdisjoint({"train.py", "evaluate.py", "judge.py", "judge.safetensors"})
    transformer = {file.parts[3] for file in files if file.parts[:3] == ("models", "miniature", "dit")}
    assert transformer == {"README.md", "checkpoint"}
    assert sum((plain / "src" / file).stat().st_size for file in files) < LARGEST_BYTES


def test_both_images_come_from_one_bentofile(plain: Path, store: Store) -> None:
    cpu = (plain / "env/docker/Dockerfile").read_text()
    assert 'torch-backend = "cpu"' in cpu
    assert f"FROM {BASE_IMAGE} " in cpu
    assert "apt-get" not in cpu
    assert 'torch-backend = "cpu"' not in "".join(image_of(BuildArguments(variant="cuda")).commands)
    assert (plain / "env/python/requirements.txt").read_text().count("torch==") == 1
    assert yaml.safe_load((plain / "bento.yaml").read_text())["labels"]["variant"] == "cpu"


@pytest.mark.usefixtures("files")
def test_it_draws_and_also_what_it_was_not_built_with(plain: Path, store: Store) -> None:
    with store.serving(plain, JUBAKO_MODELS="miniature,miniature-dit,tiny") as url:
        assert served(url) == ["miniature", "miniature-dit", "tiny"]
        for model in ("miniature", "miniature-dit"):
            assert seen_in(drawn(url, "a red apple on a blue background", model=model)) == "apple"
        assert served_page(url) == plain / "src"


def test_one_that_carries_a_model_serves_it_without_being_told(plain: Path, store: Store) -> None:
    # By its name in the catalogue, and by its place.
    own = shutil.copytree(store.folder / "sd", store.folder / "My_SD")
    done = store.pack("cpu", "--carry", f"tiny-xl,{own}", "--extras", "upscale")
    assert done.returncode == 0, done.stderr
    # deploy/image/setup installs what the one names from the other, and nothing where it names nothing.
    listed = {bento: (bento / "env/docker/Dockerfile").read_text() for bento in (plain, store.bento())}
    assert [UPSCALE_LOCK in text for text in listed.values()] == [False, True]
    assert (store.bento() / "src" / UPSCALE_LOCK).read_bytes() == (ROOT / UPSCALE_LOCK).read_bytes()
    assert "carried tiny-xl:" in done.stdout
    assert "carried my-sd:" in done.stdout
    # A machine of its own: no catalogue, and no files of the one where it was packed.
    (store.folder / "sdxl").rename(store.folder / "elsewhere")
    shutil.rmtree(own)
    with store.serving(store.bento(), JUBAKO_CATALOGUE="") as url:
        assert served(url) == ["tiny-xl", "my-sd"]
        assert drawn(url, "a red apple").size == (64, 64)


def test_what_would_stay_behind_is_named(store: Store) -> None:
    done = store.pack("cpu", "--carry", "tiny")
    assert done.returncode == 2
    assert "tiny: a Bento carries what is at `source`" in done.stderr
    assert "vocabulary" in done.stderr
    assert "ip_adapter.source.path" in done.stderr


def test_unknown_arguments_are_refused(store: Store) -> None:
    unknown = store.pack("cpu", "--extras", "downscale")
    assert unknown.returncode == 2
    assert "--extras: downscale is not one of upscale" in unknown.stderr
    done = run_forked(["-m", "bentoml", "build", "--arg", "varient=cpu"], store.environment(), ROOT)
    assert done.returncode != 0
    assert "varient" in done.stdout + done.stderr


def test_the_installer_is_the_locked_one() -> None:
    assert UV in (ROOT / "constraints-dev.txt").read_text().splitlines()
