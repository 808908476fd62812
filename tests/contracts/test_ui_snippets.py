"""Copy as code on the page `/ui`: each snippet is run as it stands, and gives the image of the request that it says."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from client.jubako import Jubako
from client.terminal.command import main
from tests.support.replica import Replica
from tests.support.serving import half_mask, photo
from ui.snippets import SNIPPETS
from ui.snippets.said import Said

DRAWN = {
    "prompt": "a red apple on O'Hara's \"blue\" background",
    "model": "tiny",
    "width": 64,
    "height": 48,
    "num_inference_steps": 3,
    "guidance_scale": 2.5,
    "scheduler": "ddim",
    "seed": 5,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "text_to_image": {**DRAWN, "num_images": 2},
    "image_to_image": {**DRAWN, "image": "photo.png", "strength": 0.6},
    "inpaint": {**DRAWN, "image": "photo.png", "mask": "mask.png", "strength": 1.0},
    "edit": {"prompt": "a hat", "model": "tiny-edit", "num_inference_steps": 2, "seed": 5, "images": ["photo.png"]},
}


def run_in_shell(text: str) -> None:
    subprocess.run(["bash", "-euc", text], check=True)


def run_command(text: str) -> None:
    """As the shell would start it, in this process."""
    assert main(shlex.split(text.replace("\\\n", " "))[1:]) == 0


def run_program(text: str) -> None:
    exec(compile(text, "snippet.py", "exec"), {})


RUN: dict[str, Callable[[str], None]] = {
    "curl": run_in_shell,
    "BentoML": run_program,
    "OpenAI": run_program,
    "jubako": run_command,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the requests name."""
    photo().save(tmp_path / "photo.png")
    half_mask().save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", SNIPPETS)
@pytest.mark.parametrize("api", REQUESTS)
def test_a_snippet_draws_what_it_says(api: str, way: str, folder: Path, openai_server: Replica) -> None:
    parameters = dict(REQUESTS[api])
    RUN[way](SNIPPETS[way](Said(openai_server.url, api, parameters)))
    count, prompt = parameters.pop("num_images", 1), parameters.pop("prompt")
    with Jubako(openai_server.url) as jubako:
        expected = [
            jubako._generate(api, False, prompt=prompt, **{**parameters, "seed": 5 + number}).pillow  # type: ignore[union-attr]
            for number in range(count)
        ]
    drawn = [Image.open(file) for file in sorted(folder.glob(f"{api}*.png"))]
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in expected]


def test_keys_are_named_and_never_shown() -> None:
    said = Said("http://here", "text_to_image", {"prompt": "x", "seed": 1}, keyed=True)
    for way in ("curl", "BentoML", "OpenAI"):
        assert "JUBAKO_CLIENT_KEY" in SNIPPETS[way](said)


def test_what_openai_lacks_is_said() -> None:
    said = Said("http://here", "text_to_image", {"prompt": "x", "seed": 1, "control_image": "edges.png"})
    assert SNIPPETS["OpenAI"](said).startswith("# OpenAI's API has no control_image")
