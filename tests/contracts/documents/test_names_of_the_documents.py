"""What the documents' names do, on tiny checkpoints of the families that these names stand for. No alias helps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.jobs.routes import jobs_app
from api.jobs.task_names import model_and_task
from api.openai.app import openai_app
from api.pipeline import pipeline_app
from core.errors import InvalidRequest, OutOfMemory
from core.generation.events import Event, Started
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue, full_catalogue
from standalone.in_process import HostRunner
from tests.support.engine.shipped import write_shipped
from tests.support.servers.service_here import client_here, ended, service_here
from tests.support.servers.serving import photo, png
from tests.tiny.images.flux import tiny_flux_schnell
from tests.tiny.images.qwen_image import shrink_inputs, tiny_qwen_image, tiny_qwen_image_edit_plus

MODELS = {
    "flux-schnell": tiny_flux_schnell,
    "qwen-image": tiny_qwen_image,
    "qwen-image-multi-angle": tiny_qwen_image_edit_plus,
}
MESSAGE = "Task submitted. Use /api/{session_id}/status to check progress."


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shipped(tmp_path_factory.mktemp("names"), MODELS)


@pytest.fixture
async def jobs(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    shrink_inputs(monkeypatch)
    served = ",".join(MODELS)
    async with service_here(catalogue, monkeypatch, JUBAKO_MODELS=served), client_here(jobs_app) as client:
        yield client


async def done(jobs: httpx.AsyncClient, address: str, **body: Any) -> dict[str, Any]:
    answer = await jobs.post(address, **body)
    assert answer.status_code == 200, answer.text
    submitted = answer.json()
    assert submitted == {"session_id": submitted["session_id"], "status": "pending", "message": MESSAGE}
    status = await ended(jobs, submitted["session_id"])
    assert (status["status"], status["error"]) == ("completed", None)
    assert status["result_url"]
    return status


async def test_qwen_multi_angle_edits_and_its_base_generates(jobs: httpx.AsyncClient) -> None:
    image = {"image": ("input.jpg", png(photo()), "image/jpeg")}
    form = {"prompt": "Move the camera left", "strength": "0.8", "guidance_scale": "7.5", "num_inference_steps": "2"}
    edited = await done(jobs, "/api/qwen-multi-angle/i2i", data=form, files=image)
    assert (edited["model"], edited["task"]) == ("qwen-image-multi-angle", "edit")
    assert edited["hint"] == "strength is ignored: edit has none"
    # The document's prompt of an i2i is optional.
    del form["prompt"], form["strength"]
    assert (await done(jobs, "/api/qwen-multi-angle/i2i", data=form, files=image))["hint"] is None

    asked = {"prompt": "A serene lake with mountains at sunset", "num_inference_steps": 2, "negative_prompt": "blurry"}
    generated = await done(jobs, "/api/qwen-multi-angle/t2i", json=asked)
    assert (generated["model"], generated["task"], generated["hint"]) == ("qwen-image", "text-to-image", None)
    batch = {"requests": [{"model": "qwen-multi-angle", "task": "t2i", **asked}]}
    (session_id,) = (await jobs.post("/api/batch", json=batch)).json()["session_ids"]
    assert (await ended(jobs, session_id))["model"] == "qwen-image"


async def test_flux_schnell_bears_the_name_flux_and_takes_the_documents_guidance(jobs: httpx.AsyncClient) -> None:
    asked = {"prompt": "A serene lake with mountains at sunset", "guidance_scale": 7.5, "num_inference_steps": 50}
    status = await done(jobs, "/api/flux/t2i", json=asked)
    assert status["model"] == "flux-schnell"
    assert status["hint"] == "guidance_scale is ignored: flux-schnell has no input for guidance"


@pytest.mark.parametrize(
    ("output_format", "hint"),
    [("png", "quality is ignored: png has none"), (None, "quality is ignored: png has none"), ("webp", None)],
)
async def test_a_quality_that_a_format_has_not_is_a_hint(
    jobs: httpx.AsyncClient, output_format: str | None, hint: str | None
) -> None:
    asked = {"prompt": "a lake", "num_inference_steps": 1, "quality": 50, "output_format": output_format}
    assert (await done(jobs, "/api/flux/t2i", json=asked))["hint"] == hint


async def test_a_seeded_repeat_is_pending_first(jobs: httpx.AsyncClient) -> None:
    asked = {"prompt": "a lake", "seed": 77, "num_inference_steps": 2}
    first, again = [await done(jobs, "/api/flux/t2i", json=asked) for _ in range(2)]
    assert again["message"] == "An equal request was done before"
    assert again["session_id"] != first["session_id"]


async def test_hints_name_fields_as_the_contract_does(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"JUBAKO_MODELS": "flux-schnell", "JUBAKO_SNAP_SIZES": "true"}
    asked = {"model": "flux", "prompt": "a lake", "true_cfg_scale": 4.0, "size": "1024x768", "num_inference_steps": 1}
    async with service_here(catalogue, monkeypatch, **chosen), client_here(openai_app) as client:
        answer = await client.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "96x80"
    assert answer.headers["x-jubako-hint"] == answer.json()["hint"]
    assert answer.json()["hint"].split("; ") == [
        "true_cfg_scale is ignored: flux-schnell has no input for guidance",
        "size: 1024x768 became 96x80, the nearest size that the model generates",
    ]


class TestWhatAnAddressMeans:
    def meant(self, address: str, *served: str) -> tuple[str, Task]:
        name, kind = address.split("/")
        catalogue: Catalogue = full_catalogue(None).only(served)
        entry, task = model_and_task(catalogue, catalogue.get(name), kind)
        return entry.id, task

    def test_without_its_base_the_error_says_what_to_serve(self) -> None:
        with pytest.raises(InvalidRequest, match=r"; qwen-image, which it was made from, .* add qwen-image to"):
            self.meant("qwen-multi-angle/t2i", "qwen-image-multi-angle")

    @pytest.mark.parametrize("model", ["qwen-image-edit", "flux-kontext"])
    def test_i2i_is_an_edit_where_a_model_only_edits(self, model: str) -> None:
        assert self.meant(f"{model}/i2i", model) == (model, Task.EDIT)

    @pytest.mark.parametrize("model", ["flux2-klein-4b", "sdxl", "qwen-image"])
    def test_what_a_model_can_do_it_does(self, model: str) -> None:
        tasks = full_catalogue(None).get(model).tasks
        expected = Task.IMAGE_TO_IMAGE if Task.IMAGE_TO_IMAGE in tasks else Task.EDIT
        assert self.meant(f"{model}/i2i", model, "qwen-image") == (model, expected)
        assert self.meant(f"{model}/t2i", model) == (model, Task.TEXT_TO_IMAGE)


async def test_a_failed_pipeline_run_ends_the_polling(catalogue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> AsyncGenerator[Event, None]:
        yield Started(0.0)
        raise OutOfMemory("GPU out of memory")

    monkeypatch.setattr(HostRunner, "generate", fails)
    async with (
        service_here(catalogue, monkeypatch, JUBAKO_MODELS="flux-schnell"),
        client_here(pipeline_app) as client,
    ):
        assert (await client.post("/pipeline/run", json={"prompt": "a lake"})).status_code == 200
        async with asyncio.timeout(60):
            while not (status := (await client.get("/pipeline/status")).json())["completed"]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        failure = {"status": "error", "message": "Pipeline execution failed: GPU out of memory"}
        assert status == {"running": False, "completed": True, **failure}
        answer = await client.get("/pipeline/image")
        assert (answer.status_code, answer.json()) == (409, failure)
        assert (await client.post("/pipeline/run", json={"prompt": "a lake"})).status_code == 200
