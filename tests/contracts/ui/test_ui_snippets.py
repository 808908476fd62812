"""Copy as code on the page `/ui`: each snippet is run as it stands, and gives the image of the request that it says."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from client.jubako import Jubako
from client.terminal.command import main
from tests.support.engine.drawing import largest_difference
from tests.support.servers.replica import Replica
from tests.support.servers.serving import half_mask, photo
from ui.snippets import SNIPPETS
from ui.snippets.snippet_request import SnippetRequest

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
CLIP = {"prompt": "a red apple", "model": "tiny-video", "num_inference_steps": 2, "num_frames": 5, "fps": 8, "seed": 5}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "several images": ("text_to_image", {**DRAWN, "num_images": 2}),
    "a LoRA": ("text_to_image", {**DRAWN, "loras": [{"name": "character", "scale": 0.8}]}),
    "a control image": (
        "text_to_image",
        {**DRAWN, "control_image": "photo.png", "control_type": "depth", "control_scale": 0.7},
    ),
    "a changed image": ("image_to_image", {**DRAWN, "image": "photo.png", "strength": 0.6}),
    "a repainted part": ("inpaint", {**DRAWN, "image": "photo.png", "mask": "mask.png", "strength": 1.0}),
    "an instruction": (
        "edit",
        {"prompt": "a hat", "model": "tiny-edit", "num_inference_steps": 2, "seed": 5, "images": ["photo.png"]},
    ),
    "a clip": ("text_to_video", CLIP),
    "a clip from an image": ("image_to_video", {**CLIP, "image": "photo.png"}),
}
FAST = {"model": "miniature", "num_inference_steps": 2, "max_tries": 1, "seed": 5}
SCENES = [{"caption": f"The dragon's part {number}", "prompt": f'a "dragon", {number}'} for number in range(1, 7)]
STORIES: dict[str, dict[str, Any]] = {
    "a story": {"prompt": "A dragon's friend finds a red apple", "num_frames": 6, **FAST},
    "references": {
        **FAST,
        "prompt": "A dragon's friend finds a red apple",
        "model": "tiny-edit",
        "num_frames": 6,
        "num_inference_steps": 1,
        "characters": [{"name": "dragon"}, {"name": "apple", "prompt": 'a "red" apple'}],
        "images": ["photo.png"],
    },
    "a plan": {"prompt": "A dragon's friend finds a red apple", "scenes": SCENES, **FAST},
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
@pytest.mark.parametrize("name", REQUESTS)
def test_a_snippet_draws_what_it_says(name: str, way: str, folder: Path, openai_server: Replica) -> None:
    api, parameters = REQUESTS[name]
    text = SNIPPETS[way](SnippetRequest(openai_server.url, api, parameters))
    if way == "OpenAI" and "control_image" in parameters:
        assert text.startswith("# OpenAI's API has no control_image")
        return
    RUN[way](text)
    own = {field: value for field, value in parameters.items() if field != "num_images"}
    with Jubako(openai_server.url) as jubako:
        expected = [
            jubako._generate(api, False, **{**own, "seed": 5 + number})
            for number in range(parameters.get("num_images", 1))
        ]
    drawn = sorted(folder.glob(f"{api}*"))
    assert [_content(file.read_bytes()) for file in drawn] == [_content(result.data) for result in expected]


def _content(file: bytes) -> bytes:
    """The pixels of an image, whose other parts say how it came; all of a video."""
    return Image.open(BytesIO(file)).tobytes() if file.startswith(b"\x89PNG") else file


@pytest.mark.parametrize("way", [way for way in SNIPPETS if way != "OpenAI"])
@pytest.mark.parametrize("name", STORIES)
def test_a_snippet_tells_the_story(name: str, way: str, folder: Path, openai_server: Replica) -> None:
    RUN[way](SNIPPETS[way](SnippetRequest(openai_server.url, "storyboard", STORIES[name])))
    if way == "curl":
        with ZipFile(folder / "storyboard-5.zip") as archive:
            archive.extractall(folder)
    with Jubako(openai_server.url) as jubako:
        expected = jubako.storyboard(**STORIES[name])
    drawn = [Image.open(file) for file in sorted(folder.rglob("frame_*.png"))]
    assert len(drawn) == len(expected.frames) == 6
    # Which frames share a pass depends on the moment, and may move pixels by 1.
    assert all(
        largest_difference(image, frame.image.pillow) <= 1 for image, frame in zip(drawn, expected.frames, strict=True)
    )


def test_a_snippet_plans_the_story(folder: Path, openai_server: Replica) -> None:
    run_in_shell(SNIPPETS["curl"](SnippetRequest(openai_server.url, "plan", STORIES["a story"])))
    planned = json.loads((folder / "plan-5.json").read_text("utf-8"))["scenes"]
    assert [scene["frame_number"] for scene in planned] == [1, 2, 3, 4, 5, 6]


def test_keys_are_named_and_never_shown() -> None:
    said = SnippetRequest("http://here", "text_to_image", {"prompt": "x", "seed": 1}, keyed=True)
    for way in ("curl", "BentoML", "OpenAI"):
        assert "JUBAKO_CLIENT_KEY" in SNIPPETS[way](said)


def test_what_openai_lacks_is_said() -> None:
    said = SnippetRequest("http://here", "storyboard", {"prompt": "x", "seed": 1})
    assert SNIPPETS["OpenAI"](said).startswith("# OpenAI's API has no storyboards")
