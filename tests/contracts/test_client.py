"""The Python client: where it draws, what it saves, and what it never imports."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from client import GenerationError, Way, chosen_way, generate_inpainting
from tests.support.servers.forked import run_forked
from tests.support.servers.serving import CATALOGUE, ROOT, free_port, half_mask, photo, png, serving_environment
from tests.support.web import WEB

VARIABLES = ("TOKENOPT_RUNPOD_URL", "TOKENOPT_ENABLE_GPU", "TOKENOPT_USE_DUMMY_GENERATION", "TTO_JOBS_ROOT_ABSOLUTE")
DRAW = """
import sys
from client import generate_inpainting
files = sys.argv[1:]
for made in generate_inpainting("a red apple", *files, 2, job_id=7, seed=3):
    print(made.path)
print(sorted({"torch", "bentoml", "diffusers", "transformers"} & set(sys.modules)))
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    photo().save(tmp_path / "original.png")
    half_mask().save(tmp_path / "mask.png")
    return tmp_path / "original.png", tmp_path / "mask.png"


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TOKENOPT_RUNPOD_URL": "http://a:8001"}, Way.REMOTE),
        ({"TOKENOPT_RUNPOD_URL": "http://a:8001", "TOKENOPT_ENABLE_GPU": "0"}, Way.REMOTE),
        ({"TOKENOPT_RUNPOD_URL": "http://a:8001", "TOKENOPT_ENABLE_GPU": "1"}, Way.REMOTE),
        ({"TOKENOPT_RUNPOD_URL": " ", "TOKENOPT_ENABLE_GPU": "1"}, Way.LOCAL),
        ({"TOKENOPT_ENABLE_GPU": "1", "TOKENOPT_USE_DUMMY_GENERATION": "1"}, Way.LOCAL),
        ({"TOKENOPT_ENABLE_GPU": "0"}, Way.DUMMY),
        ({"TOKENOPT_USE_DUMMY_GENERATION": "1"}, Way.DUMMY),
        ({}, Way.DUMMY),
    ],
)
def test_the_environment_chooses_as_the_document_says(environment: dict[str, str], way: Way) -> None:
    assert chosen_way(environment) is way


class TestTheDummy:
    def test_it_keeps_what_is_outside_the_mask_and_follows_the_seed(self) -> None:
        first, second = generate_inpainting("a", png(photo()), png(half_mask()), 2, seed=3)
        again = generate_inpainting("a", photo(), half_mask(), 2, seed=3)
        kept = np.asarray(half_mask()) == 0
        assert (np.asarray(opened(first.data))[kept] == np.asarray(photo())[kept]).all()
        assert [made.data for made in again] == [first.data, second.data]
        assert first.data != second.data
        assert (first.filename, first.content_type, first.path) == ("generation_1.png", "image/png", None)

    def test_without_a_seed_each_is_another(self) -> None:
        made = {generate_inpainting("a", photo(), half_mask())[0].data for _ in range(3)}
        assert len(made) > 1


class TestSaving:
    def test_results_are_where_the_site_looks(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        with files[0].open("rb") as image:
            made = generate_inpainting("a", image, str(files[1]), 2, job_id=12, jobs_root=str(tmp_path))
        folder = tmp_path / "job_12" / "outputs"
        assert sorted(folder.iterdir()) == [folder / "generation_1.png", folder / "generation_2.png"]
        assert [item.path.read_bytes() for item in made if item.path] == [item.data for item in made]

    @pytest.mark.parametrize("job_id", ["../12", "a/b", ""])
    def test_an_id_leads_nowhere_else(self, job_id: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="job_id"):
            generate_inpainting("a", photo(), half_mask(), job_id=job_id, jobs_root=str(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_a_job_needs_a_root(self) -> None:
        with pytest.raises(ValueError, match="TTO_JOBS_ROOT_ABSOLUTE"):
            generate_inpainting("a", photo(), half_mask(), job_id=1)


class TestRemote:
    def test_it_draws_on_the_server(
        self, server: str, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOKENOPT_RUNPOD_URL", f"{server}/")
        monkeypatch.setenv("TTO_JOBS_ROOT_ABSOLUTE", str(tmp_path))
        made = generate_inpainting("a red apple", *files, 2, job_id=1, seed=3, num_inference_steps=3)
        assert [item.path for item in made] == [tmp_path / f"job_1/outputs/generation_{n}.png" for n in (1, 2)]
        assert '"num_inference_steps": 3' in opened(made[0].data).info["parameters"]

    def test_refusals_carry_the_servers_words(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENOPT_RUNPOD_URL", server)
        with pytest.raises(GenerationError, match="mask_image") as caught:
            generate_inpainting("a", photo(), half_mask(32, 32))
        assert caught.value.status == 422

    def test_a_server_that_is_away_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        address = f"http://127.0.0.1:{free_port()}"
        monkeypatch.setenv("TOKENOPT_RUNPOD_URL", address)
        with pytest.raises(GenerationError, match=f"{address} cannot be reached"):
            generate_inpainting("a", photo(), half_mask())


def drawn_by(environment: dict[str, str], files: tuple[Path, Path], folder: Path) -> list[str]:
    """Run a site's script in a process of its own; return its lines."""
    command = [sys.executable, "-W", "ignore", "-c", DRAW, *map(str, files)]
    whole = {**environment, "TTO_JOBS_ROOT_ABSOLUTE": str(folder)}
    run = subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize("way", [Way.DUMMY, Way.REMOTE])
def test_no_framework_is_imported(way: Way, server: str, files: tuple[Path, Path], tmp_path: Path) -> None:
    address = {"TOKENOPT_RUNPOD_URL": server} if way is Way.REMOTE else {}
    lines = drawn_by({**os.environ, **address}, files, tmp_path)
    assert lines == [*(str(tmp_path / f"job_7/outputs/generation_{n}.png") for n in (1, 2)), "[]"]


def test_in_process_it_draws_what_the_server_draws(
    server: str, served_folder: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    environment = {
        **serving_environment(served_folder / CATALOGUE),
        "JUBAKO_MODELS": "tiny",
        "TOKENOPT_ENABLE_GPU": "1",
        "TTO_JOBS_ROOT_ABSOLUTE": str(tmp_path),
    }
    run = run_forked(["-c", DRAW, *map(str, files)], environment, ROOT)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    form = {"prompt": "a red apple", "seed": "3", "num_generations": "2"}
    uploads = {"input_image": files[0].read_bytes(), "mask_image": files[1].read_bytes()}
    answer = WEB.post(f"{server}/generate-inpainting", data=form, files=uploads, timeout=60).json()
    remote = [np.asarray(_picture(result)).astype(int) for result in answer["results"]]
    local = [np.asarray(Image.open(line)).astype(int) for line in lines[:2]]
    # Their batches differ, so sums are rounded otherwise.
    assert max(np.abs(a - b).max() for a, b in zip(remote, local, strict=True)) <= 1


def _picture(result: dict[str, str]) -> Image.Image:
    return opened(base64.b64decode(result["data"]))


def test_installed_it_has_its_own_name(tmp_path: Path, files: tuple[Path, Path]) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    # Building leaves files beside the sources.
    subprocess.run(["cp", "-r", str(ROOT / "client"), str(source)], check=True)
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(source)], check=True, timeout=120)
    script = DRAW.replace("from client", "from jubako_client")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "TTO_JOBS_ROOT_ABSOLUTE": str(tmp_path)}
    command = [sys.executable, "-c", script, *map(str, files)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr
    command = [sys.executable, str(tmp_path / "site/bin/jubako"), "--url", f"http://127.0.0.1:{free_port()}", "models"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "cannot be reached" in run.stderr
