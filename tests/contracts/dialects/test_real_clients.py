"""Other people's clients against one server: each draws, edits and understands a refusal."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import bentoml
import pytest
from PIL import Image

from tests.support.metadata import read_parameters
from tests.support.servers.openai_server import MODELS
from tests.support.servers.replica import Replica
from tests.support.servers.serving import ROOT, decoded, half_mask, parse_events, photo, wait_for
from tests.support.web import WEB

CLIENTS = ROOT / "tests/clients"
PYTHON, JAVASCRIPT = ROOT / ".venv-clients", CLIENTS / "javascript"
STORY = "A little fox looks for its friends in the forest"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A picture, OpenAI's kind of mask for it, and ours."""
    folder = tmp_path_factory.mktemp("pictures")
    files = folder / "photo.png", folder / "hole.png", folder / "mask.png"
    hole = photo().convert("RGBA")
    hole.putalpha(half_mask().point(lambda value: 255 - value))
    for image, file in zip((photo(), hole, half_mask()), files, strict=True):
        image.save(file)
    return files


def _seen_by(command: list[str | Path], declared: Path, installed: Path) -> dict[str, Any]:
    """Run a script of clients, once they are installed as declared; return what it prints."""
    if not installed.exists() or installed.read_bytes() != declared.read_bytes():
        pytest.skip(f"needs the clients of {declared.relative_to(ROOT)}, which tools/need-clients installs")
    run = subprocess.run(command, capture_output=True, timeout=240, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return seen


@pytest.fixture(scope="module")
def python(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/clients.py", openai_server.url, pictures[0]]
    return _seen_by(command, CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def webui(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/webui.py", openai_server.url]
    return _seen_by(
        [*command, pictures[0], pictures[2]], CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt"
    )


@pytest.fixture(scope="module")
def ollama(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/ollama_images.py", openai_server.url]
    return _seen_by([*command, pictures[0]], CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def replicate(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/predictions.py", openai_server.url]
    return _seen_by([*command, pictures[0]], CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def agents(openai_server: Replica) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/agents.py", openai_server.url]
    return _seen_by(command, CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def dialects(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/dialects.py", openai_server.url, pictures[0]]
    return _seen_by(command, CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def javascript(openai_server: Replica, pictures: tuple[Path, Path, Path]) -> dict[str, Any]:
    command: list[str | Path] = ["node", JAVASCRIPT / "clients.mjs", openai_server.url, *pictures[:2]]
    return _seen_by(command, JAVASCRIPT / "package.json", JAVASCRIPT / "node_modules/package.json")


@pytest.fixture(scope="module")
def generated(
    openai_server: Replica, pictures: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    command: list[str | Path] = [PYTHON / "bin/python", CLIENTS / "python/generated.py", openai_server.url, pictures[0]]
    command.append(tmp_path_factory.mktemp("generated"))
    return _seen_by(command, CLIENTS / "python/requirements.txt", PYTHON / "requirements.txt")


@pytest.fixture(scope="module")
def typed(openai_server: Replica, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    command: list[str | Path] = ["node", JAVASCRIPT / "typed.mjs", openai_server.url, tmp_path_factory.mktemp("typed")]
    return _seen_by(command, JAVASCRIPT / "package.json", JAVASCRIPT / "node_modules/package.json")


def opened(data: str) -> Image.Image:
    """Open an image that a client has: base64, a data URL, or its address."""
    data = data.rpartition(",")[2] if data.startswith("data:") else data
    file = WEB.get(data).raise_for_status().content if data.startswith("http") else base64.b64decode(data)
    return Image.open(BytesIO(file))


def drawn(data: str) -> dict[str, Any]:
    return read_parameters(opened(data))


class TestOpenAIInPython:
    def test_it_draws_ten(self, python: dict[str, Any]) -> None:
        seen = python["openai"]
        assert [drawn(image)["seed"] for image in seen["generated"]["images"]] == list(range(7, 17))
        assert seen["generated"]["usage"]["output_tokens"] == 160
        assert seen["id"]

    def test_it_edits_streams_and_lists(self, python: dict[str, Any]) -> None:
        seen = python["openai"]
        assert drawn(seen["edited"]["images"][0])["task"] == "edit"
        assert seen["events"] == ["image_generation.partial_image", "image_generation.completed"]
        assert seen["models"] == list(MODELS)


class TestVideosByOpenAI:
    def test_it_makes_them_of_a_prompt_or_an_image(self, dialects: dict[str, Any]) -> None:
        seen = dialects["videos"]
        done = {"status": "completed", "progress": 100, "size": "64x64", "model": "tiny-video", "error": None}
        assert seen["drawn"] == {**done, "seconds": "1.125", "seed": 7}
        assert seen["started"] == {**done, "seconds": "0.625"}

    def test_it_remixes_lists_and_deletes(self, dialects: dict[str, Any]) -> None:
        seen = dialects["videos"]
        assert (seen["remixed"]["status"], seen["remixed"]["is_from"]) == ("completed", True)
        assert seen["remixed"]["seconds"] == seen["drawn"]["seconds"]
        assert (seen["listed"], seen["deleted"], seen["gone"]["class"]) == (True, True, "NotFoundError")

    def test_it_loads_the_file_and_its_stills(self, dialects: dict[str, Any]) -> None:
        files = dialects["videos"]["files"]
        assert len(decoded(base64.b64decode(files["video"]))) == 9
        assert (opened(files["thumbnail"]).format, opened(files["thumbnail"]).size) == ("WEBP", (64, 64))
        assert (opened(files["spritesheet"]).format, opened(files["spritesheet"]).size) == ("JPEG", (480, 480))

    def test_its_error_names_the_field(self, dialects: dict[str, Any]) -> None:
        error = dialects["videos"]["long"]
        assert (error["class"], error["param"]) == ("BadRequestError", "seconds")
        assert "at most 17 are allowed, which are 2.12 seconds" in error["message"]


class TestChatsByOpenAI:
    def test_they_have_images(self, dialects: dict[str, Any]) -> None:
        seen = dialects["chats"]
        assert drawn(seen["image"])["seed"] == 7
        assert [drawn(url)["prompt"] for url in seen["streamed"]] == ["a red apple"]
        assert (seen["wrong"]["class"], seen["wrong"]["param"]) == ("BadRequestError", "n")

    def test_responses_have_calls(self, dialects: dict[str, Any]) -> None:
        seen = dialects["chats"]
        assert opened(seen["response"]).size == opened(seen["final"]).size == (128, 64)
        assert (seen["events"][0], seen["events"][-1]) == ("response.created", "response.completed")
        assert "response.image_generation_call.partial_image" in seen["events"]


class TestAzure:
    """OpenAI's client of Azure, whose addresses name the model and whose key has a header of its own."""

    def test_it_draws_edits_and_lists(self, dialects: dict[str, Any]) -> None:
        seen = dialects["azure"]
        assert drawn(seen["drawn"])["task"] == "text-to-image"
        assert drawn(seen["edited"])["task"] == "edit"
        assert seen["models"] == list(MODELS)
        assert seen["unknown"]["code"] == "model_not_found"

    def test_the_deployment_in_its_address_is_the_model(self, dialects: dict[str, Any]) -> None:
        assert drawn(dialects["azure"]["deployed"])["model"] == "tiny"
        assert dialects["azure"]["hint"] == "model is ignored: the address names tiny"


class TestHuggingFace:
    def test_it_draws(self, dialects: dict[str, Any]) -> None:
        seen = dialects["hugging_face"]
        assert (seen["bare"]["seed"], seen["bare"]["task"]) == (7, "text-to-image")
        assert (seen["named"]["num_inference_steps"], seen["named"]["width"]) == (3, 128)
        assert seen["asynchronous"]["prompt"] == "a red apple"

    def test_it_changes_images(self, dialects: dict[str, Any]) -> None:
        seen = dialects["hugging_face"]
        assert (seen["changed"]["task"], seen["changed"]["prompt"]) == ("image-to-image", "a blue apple")
        assert seen["raw"]["task"] == "image-to-image"

    def test_it_chats(self, dialects: dict[str, Any]) -> None:
        (image,) = dialects["hugging_face"]["chat"]
        assert drawn(image["image_url"]["url"])["prompt"] == "a red apple"

    def test_its_errors_say_why(self, dialects: dict[str, Any]) -> None:
        wrong, unknown = (dialects["hugging_face"][name] for name in ("wrong", "unknown"))
        assert (wrong["status"], unknown["status"]) == (400, 404)
        assert "width: 7" in wrong["message"]
        assert "'nothing' is not served here" in unknown["message"]


class TestLiteLLM:
    def test_it_draws(self, python: dict[str, Any]) -> None:
        seen = python["litellm"]
        assert [opened(image).size for image in seen["generated"]["images"]] == [(128, 64)] * 2
        assert drawn(seen["generated"]["images"][1])["seed"] == 8
        assert drawn(seen["asynchronous"]["images"][0])["seed"] == 7
        assert seen["generated"]["usage"]["output_tokens"] == 64

    def test_it_gets_addresses_of_models_that_had_them(self, python: dict[str, Any]) -> None:
        (address,) = python["litellm"]["by_address"]["images"]
        assert address.startswith("http")
        assert opened(address).size == (64, 64)

    def test_it_edits(self, python: dict[str, Any]) -> None:
        assert drawn(python["litellm"]["edited"]["images"][0])["task"] == "edit"

    def test_it_makes_a_video(self, python: dict[str, Any]) -> None:
        video = python["litellm"]["video"]
        assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
        assert (video["size"], video["model"], video["is_listed"]) == ("64x64", "tiny-video", True)
        assert len(decoded(base64.b64decode(video["file"]))) == 9

    def test_its_error_names_the_field(self, python: dict[str, Any]) -> None:
        assert python["litellm"]["error"]["status"] == 400
        assert "size" in python["litellm"]["error"]["message"]


class TestWebuiapi:
    """Of A1111's web UI, with the values that it sends by itself."""

    def test_it_chooses_a_model_and_draws(self, webui: dict[str, Any]) -> None:
        assert webui["models"] == sorted(["tiny-edit", "tiny", "miniature"])
        assert webui["model"] == "tiny"
        drawn_images = [drawn(image) for image in webui["drawn"]["images"]]
        assert [(each["model"], each["seed"], each["scheduler"]) for each in drawn_images] == [
            ("tiny", 7, "euler_a"),
            ("tiny", 8, "euler_a"),
        ]
        assert webui["drawn"]["info"]["all_seeds"] == [7, 8]

    def test_it_changes_and_repaints(self, webui: dict[str, Any]) -> None:
        assert drawn(webui["changed"]["images"][0])["task"] == "image-to-image"
        assert drawn(webui["repainted"]["images"][0])["task"] == "inpaint"

    def test_it_reads_and_resizes(self, webui: dict[str, Any]) -> None:
        assert webui["said"].startswith("a red apple\nSteps: 2, Sampler: Euler a")
        assert opened(webui["upscaled"]).size == (128, 128)

    def test_its_lists(self, webui: dict[str, Any]) -> None:
        assert "DPM++ 2M" in webui["samplers"]
        assert "karras" in webui["schedulers"]
        assert webui["progress"]["state"]["job_count"] == 0

    def test_its_error_names_the_field(self, webui: dict[str, Any]) -> None:
        status, text = webui["error"]
        assert status == 422
        assert json.loads(text)["detail"][0]["loc"] == ["body", "width"]


class TestOllama:
    """Its own client, which has experimental fields for images."""

    def test_it_draws_and_edits(self, ollama: dict[str, Any]) -> None:
        assert drawn(ollama["image"])["seed"] == 7
        assert drawn(ollama["edited"])["task"] == "edit"
        assert ollama["progress"][-3:] == [[1, 2, False, False], [2, 2, False, False], [None, None, True, True]]

    def test_its_lists_and_errors(self, ollama: dict[str, Any]) -> None:
        assert ollama["models"] == ["tiny-edit", "tiny", "miniature"]
        assert ollama["capabilities"] == ["image"]
        assert ollama["error"]["status"] == 400
        assert ollama["error"]["error"].startswith("width: ")


class TestReplicate:
    """Its own client, with our address in place of `https://api.replicate.com`."""

    def test_it_runs_and_edits(self, replicate: dict[str, Any]) -> None:
        assert [drawn(url)["seed"] for url in replicate["run"]] == [7, 8]
        assert drawn(replicate["edited"][0])["task"] == "edit"

    def test_it_follows_and_cancels(self, replicate: dict[str, Any]) -> None:
        followed = replicate["followed"]
        assert (followed["status"], followed["progress"]) == ("succeeded", 1.0)
        assert drawn(followed["output"][0])["model"] == "tiny"
        assert replicate["cancelled"] == "canceled"
        assert replicate["listed"] >= 4

    def test_its_error_names_the_field(self, replicate: dict[str, Any]) -> None:
        assert replicate["error"]["status"] == 400
        assert replicate["error"]["detail"].startswith("width: ")


def test_haystacks_generator(agents: dict[str, Any]) -> None:
    (image,) = agents["haystack"]["images"]
    assert (drawn(image)["model"], drawn(image)["prompt"]) == ("tiny", "a red apple")


def test_an_agent_of_smolagents(agents: dict[str, Any]) -> None:
    """It has the tools of MCP, and takes the first part of an answer: the image."""
    seen = agents["smolagents"]
    assert {"generate_image", "edit_image", "list_models"} <= set(seen["tools"])
    assert opened(seen["made"]).size == (64, 64)
    assert "width" in seen["error"]


def test_langchains_wrapper_of_dall_e(python: dict[str, Any]) -> None:
    addresses = python["langchain"]["addresses"]
    assert [opened(address).size for address in addresses] == [(64, 64)] * 2


def test_openai_in_javascript(javascript: dict[str, Any]) -> None:
    seen = javascript["openai"]
    generated = [opened(data) for data in seen["generated"]["data"]]
    assert [(image.format, image.size) for image in generated] == [("WEBP", (128, 64))] * 2
    assert [read_parameters(image)["seed"] for image in generated] == [7, 8]
    assert seen["generated"]["_request_id"]
    assert drawn(seen["edited"])["task"] == "edit"
    inpainted = drawn(seen["inpainted"])
    assert inpainted["task"] == "inpaint"
    assert inpainted["loras"] == [{"name": "frame", "scale": 0.25}, {"name": "sketch", "scale": 0.5}]
    assert seen["events"] == [
        {"type": "image_generation.partial_image", "partial_image_index": 0, "size": "64x64"},
        {"type": "image_generation.partial_image", "partial_image_index": 1, "size": "64x64"},
        {"type": "image_generation.completed", "size": "64x64"},
    ]
    video = {name: seen["video"][name] for name in ("status", "seconds", "error", "type")}
    assert video == {"status": "completed", "seconds": "1.125", "error": None, "type": "video/mp4"}
    assert seen["video"]["bytes"] > 0
    assert seen["models"] == list(MODELS)
    wrong = {"class": "BadRequestError", "status": 400, "code": "invalid_value", "type": "invalid_request_error"}
    assert seen["errors"]["wrong"] == {**wrong, "param": "size"}
    assert seen["errors"]["streamed"] == {**wrong, "param": "n"}
    assert seen["errors"]["unknown"]["class"] == "NotFoundError"


class TestVercel:
    def test_it_draws_ten(self, javascript: dict[str, Any]) -> None:
        seen = javascript["vercel"]["generated"]
        assert [drawn(image)["seed"] for image in seen["images"]] == list(range(7, 17))
        assert {opened(image).size for image in seen["images"]} == {(128, 64)}
        assert seen["usage"]["outputTokens"] == 320

    def test_it_follows_addresses(self, javascript: dict[str, Any]) -> None:
        assert opened(javascript["vercel"]["byAddress"]["images"][0]).size == (64, 64)

    def test_it_edits_and_inpaints(self, javascript: dict[str, Any]) -> None:
        assert drawn(javascript["vercel"]["edited"]["images"][0])["task"] == "edit"
        assert drawn(javascript["vercel"]["inpainted"]["images"][0])["task"] == "inpaint"

    def test_its_error_says_why(self, javascript: dict[str, Any]) -> None:
        error = javascript["vercel"]["error"]
        assert (error["name"], error["statusCode"]) == ("AI_APICallError", 400)
        assert error["message"].startswith("size: ")


class TestBentoML:
    """Both of its clients, over every typed API."""

    def test_the_synchronous_client(self, openai_server: Replica, pictures: tuple[Path, Path, Path]) -> None:
        image, _, mask = pictures
        apple = {"prompt": "a red apple", "model": "tiny"}
        with bentoml.SyncHTTPClient(openai_server.url, timeout=120) as client, Image.open(image) as opened_image:
            assert client.text_to_image(**apple, width=128).size == (128, 64)
            assert client.image_to_image(**apple, image=opened_image).size == (64, 64)
            assert client.inpaint(**apple, image=image, mask=mask).size == (64, 64)
            edited = client.edit(prompt="blue", model="tiny-edit", images=[image, opened_image])
            assert read_parameters(edited)["task"] == "edit"
            video = {"prompt": "a red apple", "model": "tiny-video"}
            assert len(decoded(client.text_to_video(**video).read_bytes())) == 5
            assert len(decoded(client.image_to_video(**video, image=image).read_bytes())) == 5
            assert parse_events(client.stream(**apple))[-1].name == "done"
            story: Any = client.storyboard(prompt=STORY, model="tiny", num_inference_steps=1)
            assert len(story["frames"]) == 6

    def test_tasks_are_handed_in_and_fetched(self, openai_server: Replica, pictures: tuple[Path, Path, Path]) -> None:
        image, _, mask = pictures
        apple = {"prompt": "a red apple", "model": "tiny", "seed": 7}
        with bentoml.SyncHTTPClient(openai_server.url, timeout=120) as client:
            # What its `submit` closes in the end, and 1.4.39 has in the asynchronous client only.
            vars(client).setdefault("_opened_files", [])
            tasks = [
                client.text_to_image.submit(**apple),
                client.image_to_image.submit(**apple, image=image),
                client.inpaint.submit(**apple, image=image, mask=mask),
                client.edit.submit(prompt="blue", model="tiny-edit", images=[image]),
                client.text_to_video.submit(prompt="a red apple", model="tiny-video"),
                client.image_to_video.submit(prompt="a red apple", model="tiny-video", image=image),
            ]
            wait_for(lambda: all(task.get_status().value == "completed" for task in tasks))
            *images, video, _ = [task.get() for task in tasks]
            kinds = ["text-to-image", "image-to-image", "inpaint", "edit"]
            assert [read_parameters(each)["task"] for each in images] == kinds
            assert len(decoded(video.read_bytes())) == 5
            again = tasks[0].retry()
            assert again.id != tasks[0].id
            wait_for(lambda: again.get_status().value == "completed")
            assert read_parameters(again.get()) == read_parameters(images[0])
            endless = client.text_to_image.submit(**apple, num_inference_steps=900)
            endless.cancel()
            assert endless.get_status().value == "canceled"
            with pytest.raises(bentoml.exceptions.BentoMLException, match="has no result: it is canceled"):
                endless.get()
            with pytest.raises(bentoml.exceptions.BentoMLException, match="width: "):
                client.text_to_image.submit(**{**apple, "width": 7})
            with pytest.raises(bentoml.exceptions.BentoMLException, match="there is no job"):
                client.text_to_image.get_status("nobodys")

    async def test_tasks_of_the_asynchronous_client(self, openai_server: Replica) -> None:
        async with bentoml.AsyncHTTPClient(openai_server.url, timeout=120) as client:
            task = await client.text_to_image.submit(prompt="a red apple", model="tiny", seed=7)
            status = f"{openai_server.url}/text_to_image/status?task_id={task.id}"
            await asyncio.to_thread(wait_for, lambda: WEB.get(status).json()["status"] == "completed")
            assert (await task.get_status()).value == "completed"
            assert read_parameters(await task.get())["seed"] == 7

    async def test_the_asynchronous_client(self, openai_server: Replica, pictures: tuple[Path, Path, Path]) -> None:
        image, _, mask = pictures
        apple = {"prompt": "a red apple", "model": "tiny"}
        video = {"prompt": "a red apple", "model": "tiny-video"}
        async with bentoml.AsyncHTTPClient(openai_server.url, timeout=120) as client:
            drawn_images = await asyncio.gather(
                client.text_to_image(**apple),
                client.image_to_image(**apple, image=image),
                client.inpaint(**apple, image=image, mask=mask),
                client.edit(prompt="blue", model="tiny-edit", images=[image, image]),
            )
            assert [each.size for each in drawn_images] == [(64, 64)] * 4
            videos = await asyncio.gather(client.text_to_video(**video), client.image_to_video(**video, image=image))
            assert [len(decoded(each.read_bytes())) for each in videos] == [5, 5]
            assert parse_events([text async for text in client.stream(**apple)])[-1].name == "done"
            story: Any = await client.storyboard(prompt=STORY, model="tiny", num_inference_steps=1)
            assert len(story["frames"]) == 6


class TestAClientMadeFromOurDescription:
    """By openapi-python-client, which must understand all of it."""

    def test_it_draws(self, generated: dict[str, Any]) -> None:
        for image, seed in (generated["drawn"], generated["changed"]):
            assert drawn(image)["seed"] == int(seed) == 7
        assert drawn(generated["drawn"][0])["task"] == "text-to-image"
        assert drawn(generated["changed"][0])["strength"] == 0.5
        assert drawn(generated["openai"])["seed"] == 7

    def test_it_reads_what_is_answered(self, generated: dict[str, Any]) -> None:
        assert generated["refused"] == ["invalid_request", "width"]
        assert generated["job"] == "pending"
        assert generated["models"] == list(MODELS)


class TestTypesMadeFromOurDescription:
    """By openapi-typescript, with which TypeScript accepts a program of openapi-fetch."""

    def test_it_draws(self, typed: dict[str, Any]) -> None:
        assert drawn(typed["drawn"])["seed"] == int(typed["seed"]) == 7
        assert drawn(typed["openai"])["seed"] == 7

    def test_it_reads_what_is_answered(self, typed: dict[str, Any]) -> None:
        assert typed["refused"] == ["invalid_request", "width"]
        assert typed["models"] == list(MODELS)
