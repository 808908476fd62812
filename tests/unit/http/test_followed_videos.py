"""Every contract takes the videos that a clip follows by the same names, and says what is wrong with them in its own
words: files of a form, base64 and data URLs of JSON, results of earlier jobs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from core.generation.request import Task
from jobs.job import Job
from tests.support.engine.animation_videos import gif
from tests.support.servers.guarded_server import ALICE, GuardedServer, guarded_server
from tests.support.servers.serving import photo, png

pytestmark = pytest.mark.asyncio(loop_scope="module")

PHOTO, POSES, FEW = (base64.b64encode(file).decode() for file in (png(photo()), gif(9), gif(5)))
MODEL = "tiny-animate"
CONTRACTS = ("jobs", "batch", "predictions", "cog", "openai", "openai sync", "mcp", "hugging face")
ERRORS: Mapping[str, tuple[dict[str, str | None], str]] = {
    "missing": ({"face_video": None}, f"face_video: {MODEL} needs one"),
    "alone": ({"mask_video": POSES}, "background_video: is needed beside mask_video"),
    "short": ({"face_video": FEW}, "face_video: has 5 frames; 9 are needed, one for each of the clip"),
    "no video": ({"pose_video": PHOTO}, "pose_video: is not a video; readable are MP4, MOV, WebM, GIF"),
    "cut off": ({"pose_video": POSES[:800]}, "pose_video: is incomplete: its end is missing"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedServer]:
    async with guarded_server(tmp_path_factory.mktemp("followed")) as running:
        yield running


def body_of(contract: str, videos: Mapping[str, str], model: str, image: str | None = PHOTO) -> tuple[str, Any]:
    """Return the address and the body of a request of one contract."""
    fields: dict[str, Any] = {"prompt": "a fox", **videos}
    with_image = fields if image is None else {**fields, "image": image}
    match contract:
        case "jobs":
            return f"/api/{model}/i2v", with_image
        case "batch":
            return "/api/batch", {"requests": [{**with_image, "task": "i2v", "model": model}]}
        case "predictions" | "cog":
            urls = {name: f"data:video/mp4;base64,{video}" for name, video in videos.items()}
            path = "/predictions" if contract == "cog" else "/replicate/v1/predictions"
            return path, {"version": model, "input": {**with_image, **urls}}
        case "openai" | "openai sync":
            path = "/v1/videos" if contract == "openai" else "/v1/videos/sync"
            return path, {**fields, "model": model, **({} if image is None else {"input_reference": image})}
        case "hugging face":
            return f"/models/{model}", {"inputs": image or "a fox", "parameters": fields}
        case _:
            arguments = {**with_image, "model": model, "background": True}
            call = {"name": "generate_video", "arguments": arguments}
            return "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}


async def answered(server: GuardedServer, path: str, **body: Any) -> httpx.Response:
    async with server.client(ALICE) as client:
        return await client.post(path, headers={"Accept": "application/json, text/event-stream"}, **body)


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("mistake", ERRORS)
async def test_a_mistake_is_named(contract: str, mistake: str, server: GuardedServer) -> None:
    changed, says = ERRORS[mistake]
    given = {"pose_video": POSES, "face_video": POSES, **changed}
    videos = {name: video for name, video in given.items() if video is not None}
    path, body = body_of(contract, videos, MODEL)
    answer = await answered(server, path, json=body)
    assert (answer.status_code, says in answer.text) == (200 if contract == "mcp" else 400, True), answer.text


@pytest.mark.parametrize("contract", CONTRACTS)
async def test_a_model_that_follows_none_refuses_them(contract: str, server: GuardedServer) -> None:
    path, body = body_of(contract, {"pose_video": POSES}, "tiny-video")
    assert "pose_video: tiny-video takes none" in (await answered(server, path, json=body)).text


@pytest.mark.parametrize(
    ("contract", "name"),
    [("openai", "input_reference"), ("cog", "image"), ("mcp", "image"), ("hugging face", "inputs")],
)
async def test_without_an_image_they_are_no_prompts_for_videos(contract: str, name: str, server: GuardedServer) -> None:
    path, body = body_of(contract, {"pose_video": POSES, "face_video": POSES}, MODEL, image=None)
    text = (await answered(server, path, json=body)).text
    assert "image-to-video needs one" in text
    assert name in text


@pytest.mark.parametrize("contract", ["jobs", "batch", "predictions", "openai"])
async def test_a_clip_is_as_long_as_its_poses(contract: str, server: GuardedServer) -> None:
    path, body = body_of(contract, {"pose_video": FEW, "face_video": POSES}, MODEL)
    answer = await answered(server, path, json=body)
    assert answer.is_success, answer.text
    shown = answer.json()
    (job_id,) = shown["session_ids"] if contract == "batch" else [shown.get("id", shown.get("session_id"))]
    job = await server.desk._ledger.get(job_id)
    assert (job.request["num_frames"], job.request["fps"], job.task) == (5, 10, Task.IMAGE_TO_VIDEO)
    hint = "face_video: the first 5 of its 9 frames are followed, as many as the poses"
    assert job.request["hints"] == [hint]
    if contract == "predictions":
        assert not {"pose_video", "image", "segment_frames"} & shown["input"].keys()


async def test_forms_have_them_as_files(server: GuardedServer) -> None:
    files = {"input_reference": png(photo()), "pose_video": gif(9), "face_video": gif(9)}
    answer = await answered(
        server, "/v1/videos", data={"prompt": "a fox", "model": MODEL, "seconds": "0.6"}, files=files
    )
    assert answer.json()["seconds"] == "0.6", "six frames, at the ten a second of the poses"


async def test_a_clip_that_follows_videos_has_no_remix(server: GuardedServer) -> None:
    plain = await server.done(Task.TEXT_TO_VIDEO, gif(5), media_type="image/gif")
    request = (await server.desk._ledger.get(plain)).request
    followed = {**request, "model": MODEL, "task": Task.IMAGE_TO_VIDEO, "pose_video": {"size": [64, 64]}}
    job = await server._kept(Job(request=followed, output_format="gif", owner="alice"), (gif(5),), "image/gif")
    answer = await answered(server, f"/v1/videos/{job}/remix", json={"prompt": "in winter"})
    assert answer.json()["error"]["param"] == "video_id"
    answer = await answered(server, f"/v1/videos/{plain}/remix", json={"prompt": "in winter"})
    assert answer.is_success, answer.text


class TestResultsOfEarlierJobs:
    async def call(self, server: GuardedServer, **arguments: Any) -> str:
        call = {"name": "generate_video", "arguments": {"prompt": "a fox", "model": MODEL, "image": PHOTO, **arguments}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        return (await answered(server, "/mcp", json=body)).text

    async def test_are_videos(self, server: GuardedServer) -> None:
        clip = await server.done(Task.TEXT_TO_VIDEO, gif(9), media_type="image/gif")
        picture = await server.done(Task.TEXT_TO_IMAGE, png(photo()))
        assert f"face_video: {MODEL} needs one" in await self.call(server, pose_video=clip)
        says = f"face_video: result 0 of job {picture} is image/png, not video"
        assert says in await self.call(server, pose_video=clip, face_video=picture)


async def test_agents_are_told_which_models_follow_them(server: GuardedServer) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_models", "arguments": {}}}
    text = (await answered(server, "/mcp", json=body)).text
    said = next((line[6:] for line in text.splitlines() if line.startswith("data: {")), text)
    models = {each["id"]: each for each in json.loads(said)["result"]["structuredContent"]["models"]}
    animation = {
        "needed": ["pose_video", "face_video"],
        "together": ["background_video", "mask_video"],
        "max_frames": 17,
    }
    assert (models[MODEL]["animation"], models["tiny-video"]["animation"]) == (animation, None)
