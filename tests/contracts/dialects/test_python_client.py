"""Our Python client and its command against a real server: typed APIs, streams, jobs, stories, in both of its forms."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image as Pillow
from rich.console import Console

from client import AsyncJubako, Image, Jubako, Refused, Unreachable, Video
from client.display.bars import bar
from client.display.terminal_images import as_text
from client.events import Event
from client.parameters import Character
from client.results import Frame, Storyboard
from client.terminal.command import main
from tests.support.mcp_client import fields_of, images_of
from tests.support.metadata import read_parameters
from tests.support.servers.replica import Replica
from tests.support.servers.serving import ROOT, free_port, half_mask, photo, png

APPLE: dict[str, Any] = {"model": "tiny", "seed": 7}
STORY = "A little fox looks for its friends in the forest"


@pytest.fixture
def jubako(openai_server: Replica) -> Iterator[Jubako]:
    with Jubako(openai_server.url) as client:
        yield client


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    photo().save(tmp_path / "photo.png")
    half_mask().save(tmp_path / "mask.png")
    return tmp_path / "photo.png", tmp_path / "mask.png"


class TestTypedApis:
    def test_images(self, jubako: Jubako, files: tuple[Path, Path], tmp_path: Path) -> None:
        apple = jubako.text_to_image("a red apple", width=128, **APPLE)
        assert (apple.pillow.size, apple.seed, apple.model, apple.media_type) == ((128, 64), 7, "tiny", "image/png")
        assert apple.save(tmp_path / "apple.png").read_bytes() == apple.data
        changed = jubako.image_to_image("a blue apple", apple, strength=0.5, **APPLE)
        assert read_parameters(changed.pillow)["task"] == "image-to-image"
        assert jubako.inpaint("a blue apple", *files, **APPLE).pillow.size == (64, 64)
        edited = jubako.edit("blue", apple, photo(), files[0].read_bytes(), model="tiny-edit")
        assert read_parameters(edited.pillow)["task"] == "edit"

    def test_videos(self, jubako: Jubako, files: tuple[Path, Path]) -> None:
        made = (
            jubako.text_to_video("a red apple", model="tiny-video"),
            jubako.image_to_video("a red apple", files[0], model="tiny-video", output_format="gif"),
        )
        assert [(type(each), each.media_type) for each in made] == [(Video, "video/mp4"), (Video, "image/gif")]

    def test_progress_changes_nothing(self, jubako: Jubako) -> None:
        assert jubako.text_to_image("a fox", progress=True, **APPLE) == jubako.text_to_image("a fox", **APPLE)

    def test_hints_come_with_the_image(self, jubako: Jubako) -> None:
        assert "num_frames" not in (jubako.text_to_image("a fox", **APPLE).hint or "")
        assert "quality" in (jubako.text_to_image("a fox", quality=50, **APPLE).hint or "")

    def test_a_stream_has_previews_and_all_images(self, jubako: Jubako) -> None:
        events = list(jubako.stream("a fox", num_images=2, preview_every=1, **APPLE))
        assert sorted(event.result.seed or 0 for event in events if event.result) == [7, 8]
        assert any(event.preview for event in events)
        assert events[-1].name == "done"

    def test_a_story_is_frames_with_captions(self, jubako: Jubako, tmp_path: Path) -> None:
        board = jubako.storyboard(STORY, model="tiny", num_inference_steps=1)
        assert [frame.number for frame in board.frames] == [1, 2, 3, 4, 5, 6]
        assert [path.name for path in board.save(tmp_path)][:2] == ["frame_001.png", "frame_002.png"]

    def test_a_story_follows_its_characters(self, jubako: Jubako, tmp_path: Path) -> None:
        cast: list[Character] = [{"name": "fox"}, {"name": "owl", "prompt": "a white owl"}]
        board = jubako.storyboard(STORY, model="tiny-edit", characters=cast, images=[photo()], num_inference_steps=1)
        assert (board.mode, [each.name for each in board.references]) == ("edit", ["owl"])
        assert board.references[0].image.model == "tiny", "the first that draws from text"
        assert read_parameters(board.frames[0].image.pillow)["task"] == "edit"
        assert board.save(tmp_path)[-1].name == "reference_001.png"

    def test_models_say_what_they_do(self, jubako: Jubako) -> None:
        models = {model.id: model for model in jubako.models()}
        assert list(models["tiny-edit"].tasks) == ["edit"]
        assert models["tiny"].state == "ready"


class TestJobs:
    def test_one_is_handed_in_and_fetched(self, jubako: Jubako) -> None:
        events: list[Event] = []
        # Not yet made by another test, whose result would be this one's at once.
        job = jubako.submit("a fox", seed=1017)
        (made,) = jubako.wait(job, progress=True, on_event=events.append)
        assert isinstance(made, Image)
        # Of no model in particular, the first that can.
        assert (made.seed, made.model, events[-1].name) == (1017, "tiny", "completed")
        assert job.id in [each.id for each in jubako.jobs()]

    def test_a_batch(self, jubako: Jubako) -> None:
        jobs = jubako.batch(["a fox", {"prompt": "a cat", "seed": 8}], **APPLE)
        assert [each.seed for each in jubako.wait(*jobs)] == [7, 8]

    def test_one_that_is_cancelled_says_so(self, jubako: Jubako) -> None:
        job = jubako.submit("a fox", num_inference_steps=900, num_images=4, **APPLE)
        assert jubako.cancel(job).status == "cancelled"
        with pytest.raises(Refused, match=job.id) as caught:
            jubako.wait(job)
        assert caught.value.code == "cancelled"


class TestErrors:
    def test_what_is_refused_keeps_the_servers_words(self, jubako: Jubako) -> None:
        for refused in (
            lambda: jubako.text_to_image("a fox", width=7, **APPLE),
            lambda: list(jubako.stream("a fox", width=7, **APPLE)),
            lambda: jubako.submit("a fox", width=7, **APPLE),
        ):
            with pytest.raises(Refused, match="width: ") as caught:
                refused()
            assert (caught.value.status, caught.value.code, caught.value.field) == (400, "invalid_request", "width")

    async def test_videos_go_as_files(self, jubako: Jubako, openai_server: Replica) -> None:
        """No video is as good as one that its model does not take: it was read as a file of its field."""
        given: dict[str, Any] = {"image": photo(), "pose_video": b"no video", "model": "tiny-video"}
        async with AsyncJubako(openai_server.url) as patient:
            for refused in (
                lambda: jubako.image_to_video("a fox", **given),
                lambda: jubako.image_to_video("a fox", progress=True, **given),
                lambda: jubako.submit("a fox", "image_to_video", **given),
                lambda: jubako.batch([{"prompt": "a fox", "api": "image_to_video"}], **given),
            ):
                with pytest.raises(Refused, match="pose_video: is not a video"):
                    refused()
            for awaited in (
                patient.image_to_video("a fox", **given),
                anext(patient.stream("a fox", "image_to_video", **given)),
                patient.submit("a fox", "image_to_video", **given),
            ):
                with pytest.raises(Refused, match="pose_video: is not a video"):
                    await awaited

    def test_a_server_that_is_away_is_named(self) -> None:
        with pytest.raises(Unreachable, match="cannot be reached"), Jubako(f"http://127.0.0.1:{free_port()}") as away:
            away.models()


async def test_many_at_once(openai_server: Replica) -> None:
    async with AsyncJubako(openai_server.url) as jubako:
        foxes = await asyncio.gather(*(jubako.text_to_image("a fox", model="tiny", seed=seed) for seed in range(4)))
        assert [fox.seed for fox in foxes] == [0, 1, 2, 3]
        changed = await jubako.image_to_image("a blue fox", foxes[0], **APPLE)
        assert (await jubako.inpaint("a fox", changed, half_mask(), **APPLE)).pillow.size == (64, 64)
        assert (await jubako.edit("blue", foxes[0], foxes[1])).model == "tiny-edit"
        video = await jubako.text_to_video("a fox", model="tiny-video")
        assert (await jubako.image_to_video("a fox", photo(), model="tiny-video")).media_type == video.media_type
        assert [event.name async for event in jubako.stream("a fox", **APPLE)][-1] == "done"
        jobs = [await jubako.submit("a fox", seed=7), *await jubako.batch(["a cat", "an owl"], **APPLE)]
        assert [made.seed for made in await jubako.wait(*jobs)] == [7, 7, 7]
        assert jobs[0].id in [each.id for each in await jubako.jobs()]
        endless = await jubako.submit("a fox", num_inference_steps=900, num_images=4, **APPLE)
        assert (await jubako.cancel(endless)).status == "cancelled"
        assert len((await jubako.storyboard(STORY, model="tiny", num_inference_steps=1)).frames) == 6
        with pytest.raises(Refused, match="width: "):
            await jubako.text_to_image("a fox", width=7, model="tiny")


class TestNotebooks:
    def test_images_show_themselves_whatever_their_format(self) -> None:
        assert Image(png(photo()), "image/png")._repr_png_() == png(photo())
        file = ROOT / "docs/pictures/story.jpg"
        assert Image(file.read_bytes(), "image/jpeg")._repr_png_().startswith(b"\x89PNG")

    def test_videos_and_stories_too(self) -> None:
        assert Video(b"x", "video/mp4")._repr_html_().startswith('<video src="data:video/mp4;base64,eA=="')
        frame = Frame(Image(png(photo()), "image/png"), 1, "<a fox>", "a fox", None)
        assert "&lt;a fox&gt;" in Storyboard([frame], 7, "tiny", None, [])._repr_html_()


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def _here(self, openai_server: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUBAKO_CLIENT_URL", openai_server.url)
        monkeypatch.chdir(tmp_path)

    def test_it_draws(self, jubako: Jubako, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["draw", "a fox", "--model", "tiny", "--seed", "7", "-o", "fox.png"]) == 0
        assert capsys.readouterr().out == "fox.png\n"
        drawn = Path("fox.png").read_bytes()
        assert drawn == jubako.text_to_image("a fox", output_format="png", **APPLE).data

    def test_it_draws_several_in_another_format(self) -> None:
        command = ["draw", "a fox", "-m", "tiny", "-s", "7", "-n", "2", "--steps", "3", "-o", "fox.webp", "--quiet"]
        assert main([*command, "--set", "negative_prompt=a cat", "--set", "guidance_scale=3"]) == 0
        made = [read_parameters(Pillow.open(f"fox-{number}.webp")) for number in (1, 2)]
        assert [each["seed"] for each in made] == [7, 8]
        assert {(each["num_inference_steps"], each["negative_prompt"], each["guidance_scale"]) for each in made} == {
            (3, "a cat", 3.0)
        }

    def test_it_edits_changes_and_inpaints(self, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
        image, mask = map(str, files)
        common = ["a fox", "-s", "7", "-q", "--image", image]
        for extra in ([], ["-m", "tiny"], ["--mask", mask], ["-m", "tiny-edit", "--image", image]):
            assert main(["draw", *common, *extra]) == 0
            (path,) = capsys.readouterr().out.split()
            assert path == "image-7.png"
            wanted = {"": "edit", "tiny": "image-to-image", mask: "inpaint", image: "edit"}
            assert read_parameters(Pillow.open(path))["task"] == wanted[extra[-1] if extra else ""]

    def test_it_makes_videos_and_stories(self, files: tuple[Path, Path]) -> None:
        assert main(["video", "a fox", "-m", "tiny-video", "-i", str(files[0]), "-o", "fox.webm", "-q"]) == 0
        assert Path("fox.webm").stat().st_size > 0
        assert main(["story", STORY, "-m", "tiny-edit", "--set", "num_inference_steps=1", "-o", "story", "-q"]) == 0
        made = sorted(file.name for file in Path("story").iterdir())
        assert made[-3:] == ["frame_006.png", "reference_001.png", "sheet.png"]

    def test_it_lists_models_and_follows_jobs(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["models"]) == 0
        assert re.search(r"tiny-edit +ready +edit", capsys.readouterr().out)
        assert main(["draw", "a fox", "-m", "tiny", "-s", "7", "--background"]) == 0
        job = capsys.readouterr().out.strip()
        assert main(["jobs", job, "-o", "results"]) == 0
        assert capsys.readouterr().out.split() == [f"results/{job}_0.png"]
        assert main(["jobs"]) == 0
        assert re.search(rf"{job} +completed", capsys.readouterr().out)
        assert main(["jobs", job, "--cancel"]) == 0
        assert capsys.readouterr().out == "completed\n"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["draw", "a fox", "--width", "7"], "width: "),
            (["draw", "a fox", "-o", "fox.bmp"], "must end in one of .png"),
            (["draw", "a fox", "--mask", "mask.png"], "--mask needs one --image"),
            (["draw", "a fox", "--image", "nowhere.png"], "nowhere.png"),
            (["draw", "a fox", "--set", "strength"], "write NAME=VALUE"),
            (["video", "a fox", "--pose-video", "poses.mp4"], "--pose-video needs an --image"),
            (["video", "a fox", "-i", str(ROOT / "docs/pictures/story.jpg"), "--face-video", "face.mp4"], "face.mp4"),
            (["jobs", "nobodys"], "nobodys"),
        ],
    )
    def test_mistakes_are_one_line(
        self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(arguments) == 1
        assert message in capsys.readouterr().err.replace("\n", " ")
        assert not Path("fox.bmp").exists()


class TestTheTerminal:
    def test_a_bar_shows_steps_and_a_preview(self) -> None:
        said = StringIO()
        preview = {"image": "data:image/png;base64," + base64.b64encode(png(photo())).decode()}
        with bar("a [red] fox", console=Console(file=said, force_terminal=True, width=100)) as shown:
            shown.show(Event("step", {"index": 0, "step": 3, "steps": 20}))
            shown.show(Event("preview", preview))
        assert "a [red] fox" in said.getvalue()
        assert "step 3 of 20" in said.getvalue()
        assert "▀" in said.getvalue()

    def test_an_image_keeps_its_proportions(self) -> None:
        said = StringIO()
        Console(file=said, width=100).print(as_text(Pillow.new("RGB", (64, 32), "red"), 16))
        assert said.getvalue().splitlines() == ["▀" * 16] * 4


async def test_agents_that_start_their_servers_give_and_get_files(
    openai_server: Replica, files: tuple[Path, Path], tmp_path: Path
) -> None:
    environment = {**os.environ, "JUBAKO_CLIENT_FOLDER": str(tmp_path / "made"), "PYTHONPATH": str(ROOT)}
    environment["JUBAKO_CLIENT_IMAGES"] = str(tmp_path)
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "client", "--url", openai_server.url, "mcp"], env=environment
    )
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with Client(stdio_client(command)) as agent:
        assert "inpaint" in [tool.name for tool in (await agent.list_tools()).tools]
        call = {"prompt": "blue", "images": [str(files[0])]}
        result = await agent.call_tool("edit_image", call, progress_callback=hear)
        refused = await agent.call_tool("generate_image", {"prompt": "a fox", "width": 7})
    (image,) = images_of(result)
    assert read_parameters(image)["task"] == "edit"
    saved = result.content[-1].text.removeprefix("saved: ")  # type: ignore[union-attr]  # it is text
    assert Path(saved).parent == tmp_path / "made"
    assert read_parameters(Pillow.open(saved)) == read_parameters(image)
    assert told[-1] == 100
    assert fields_of(refused)["field"] == "width"


def test_it_imports_neither_torch_nor_what_serves() -> None:
    script = "import client, client.terminal.command, sys, json; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {name.partition(".")[0] for name in json.loads(run.stdout)}
    assert imported & {"torch", "bentoml", "fastapi", "starlette", "mcp", "core", "api", "settings"} == set()
