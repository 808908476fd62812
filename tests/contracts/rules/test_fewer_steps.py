"""Every contract takes `step_cache` and `guidance_end`, and says of its images how many steps were predicted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image
from websockets.sync.client import connect

from api.contracts import CONTRACTS
from tests.support.mcp_client import agent, fields_of, images_of
from tests.support.metadata import read_comment, read_parameters
from tests.support.servers.replica import Replica
from tests.support.servers.serving import half_mask, parse_events, photo, png, wait_for
from tests.support.web import client_of

STEPS = 30
PROMPT, SEED, MODEL = "a red apple", 7, "tiny"
TUNED: Mapping[str, Any] = {"step_cache": "fast", "guidance_end": 0.8}
TYPED: Mapping[str, Any] = {"model": MODEL, "seed": SEED, "num_inference_steps": STEPS, **TUNED}
ASKED: Mapping[str, Any] = {**TYPED, "prompt": PROMPT}


@pytest.fixture(scope="module")
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


@dataclass(frozen=True)
class Told:
    """What a contract says of an image or video."""

    skipped: int
    parameters: Mapping[str, Any]
    """Those in its file."""


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def parameters_in(file: bytes | str) -> dict[str, Any]:
    """Return what a file says, which may be base64 or a data URL."""
    data = file if isinstance(file, bytes) else base64.b64decode(file.rpartition(",")[2])
    return read_parameters(Image.open(BytesIO(data)))


def done(http: httpx.Client, path: str) -> dict[str, Any]:
    """Wait for a job; return its status."""
    status: dict[str, Any] = {}

    def is_over() -> bool:
        status.update(ok(http.get(path)))
        return status["status"] in ("completed", "failed")

    wait_for(is_over)
    return status


def of_file(answer: httpx.Response) -> Told:
    assert answer.is_success, answer.text
    assert answer.headers["x-jubako-tiled"] == "false"
    return Told(int(answer.headers["x-jubako-skipped-steps"]), parameters_in(answer.content))


def of_images(http: httpx.Client) -> Told:
    [image] = ok(http.post("/v1/images/generations", json=ASKED))["data"]
    assert image["tiled"] is False
    return Told(image["skipped_steps"], parameters_in(image["b64_json"]))


def of_socket(http: httpx.Client) -> Told:
    with connect(f"{str(http.base_url).replace('http', 'ws')}/v1/images/stream", max_size=None) as socket:
        socket.send(json.dumps(ASKED))
        *_, last = (event for event in map(json.loads, socket) if "skipped_steps" in event)
    return Told(last["skipped_steps"], parameters_in(last["b64_json"]))


def of_video(http: httpx.Client) -> Told:
    video = ok(http.post("/v1/videos", json={**ASKED, "model": "tiny-video"}))["id"]
    shown = done(http, f"/v1/videos/{video}")
    comment = read_comment(http.get(f"/v1/videos/{video}/content").content)
    return Told(shown["skipped_steps"], json.loads(comment or "{}"))


def of_chat(http: httpx.Client) -> Told:
    chat = {**TYPED, "messages": [{"role": "user", "content": PROMPT}]}
    [choice] = ok(http.post("/v1/chat/completions", json=chat))["choices"]
    [image] = choice["message"]["images"]
    return Told(image["skipped_steps"], parameters_in(image["image_url"]["url"]))


def of_response(http: httpx.Client) -> Told:
    response = {**TYPED, "input": PROMPT, "tools": [{"type": "image_generation"}]}
    [image] = ok(http.post("/v1/responses", json=response))["output"]
    return Told(image["skipped_steps"], parameters_in(image["result"]))


def of_job(http: httpx.Client) -> Told:
    fields = {name: value for name, value in ASKED.items() if name != "model"}
    job = ok(http.post(f"/api/{MODEL}/t2i", json=fields))["session_id"]
    [made] = done(http, f"/api/{job}/status")["results"]
    return Told(made["skipped_steps"], parameters_in(http.get(made["url"]).content))


def of_inpainting(http: httpx.Client) -> Told:
    files = {"input_image": png(photo()), "mask_image": png(half_mask())}
    answer = http.post("/generate-inpainting", data={**ASKED, "strength": 1.0}, files=files)
    [made] = ok(answer)["results"]
    return Told(int(answer.headers["x-jubako-skipped-steps"]), parameters_in(made["data"]))


def of_story(http: httpx.Client) -> Told:
    prompt = "A little fox looks for its friends in the forest"
    *_, frame = ok(http.post("/generate", json={**ASKED, "prompt": prompt, "num_frames": 6}))["frames"]
    return Told(frame["skipped_steps"], parameters_in(frame["image"]))


def of_ollama(http: httpx.Client) -> Told:
    fields = {"model": MODEL, "prompt": PROMPT, "steps": STEPS, "stream": False, "options": {"seed": SEED, **TUNED}}
    made = ok(http.post("/ollama/api/generate", json=fields))
    assert "hint" not in made
    return Told(made["skipped_steps"], parameters_in(made["image"]))


def of_replicate(http: httpx.Client) -> Told:
    given = {name: value for name, value in ASKED.items() if name != "model"}
    path, wait = f"/replicate/v1/models/anyone/{MODEL}/predictions", {"Prefer": "wait=60"}
    made = ok(http.post(path, json={"input": given}, headers=wait))
    [address] = made["output"]
    return Told(made["metrics"]["skipped_steps"], parameters_in(http.get(address).content))


def of_cog(http: httpx.Client) -> Told:
    given = {name: value for name, value in ASKED.items() if name != "model"}
    made = ok(http.post("/predictions", json={"input": given, "version": MODEL}))
    [url] = made["output"]
    return Told(made["metrics"]["skipped_steps"], parameters_in(url))


def of_a1111(http: httpx.Client) -> Told:
    """By fields of its own, for programs that let people add some."""
    return _of_a1111(http, TUNED, {})


def of_a1111_settings(http: httpx.Client) -> Told:
    """By the web UI's own way to others' settings, for programs that know no other fields."""
    return _of_a1111(http, {}, TUNED)


def _of_a1111(http: httpx.Client, fields: Mapping[str, Any], settings: Mapping[str, Any]) -> Told:
    chosen = {"sd_model_checkpoint": MODEL, **settings}
    asked = {"prompt": PROMPT, "seed": SEED, "steps": STEPS, **fields, "override_settings": chosen}
    answer = http.post("/sdapi/v1/txt2img", json=asked)
    body = ok(answer)
    info = json.loads(body["info"])
    assert "x-jubako-hint" not in answer.headers
    assert "Guidance end: 0.8, Step cache: fast" in info["infotexts"][0]
    [skipped] = info["all_skipped_steps"]
    return Told(skipped, parameters_in(body["images"][0]))


def of_task(http: httpx.Client) -> Told:
    task = ok(http.post("/text_to_image/submit", json=ASKED))["task_id"]
    done(http, f"/text_to_image/status?task_id={task}")
    return of_file(http.get(f"/text_to_image/get?task_id={task}"))


def of_tool(http: httpx.Client) -> Told:
    async def called() -> Told:
        async with agent(str(http.base_url)) as client:
            result = await client.call_tool("generate_image", dict(ASKED))
        [image] = images_of(result)
        return Told(fields_of(result)["results"][0]["skipped_steps"], read_parameters(image))

    return asyncio.run(called())


def of_inference(http: httpx.Client) -> Told:
    parameters = {name: value for name, value in TYPED.items() if name != "model"}
    return of_file(http.post(f"/models/{MODEL}", json={"inputs": PROMPT, "parameters": parameters}))


WAYS: Mapping[str, tuple[Callable[[httpx.Client], Told], ...]] = {
    "OpenAI Images API": (of_images, of_socket),
    "OpenAI Videos API": (of_video,),
    "OpenAI chat with images": (of_chat, of_response),
    "Jobs": (of_job,),
    "Inpainting server": (of_inpainting,),
    "Storyboard generation": (of_story,),
    "Ollama's image generation": (of_ollama,),
    "Replicate's predictions": (of_replicate, of_cog),
    "A1111's web UI": (of_a1111, of_a1111_settings),
    "BentoML's tasks": (of_task,),
    "Model Context Protocol": (of_tool,),
    "Hugging Face inference": (of_inference,),
}
WITHOUT = {
    "Operations": "generates nothing",
    "Text-to-image microservice": "its requests are a prompt and no more",
    "Page to play with": "asks the others",
}
OF_THEIR_OWN = (of_video, of_inpainting, of_story)
"""Whose images are others than those of the same prompt elsewhere."""


@pytest.fixture(scope="module")
def plain(http: httpx.Client) -> Told:
    return of_file(http.post("/text_to_image", json=ASKED))


def test_no_contract_is_left_out() -> None:
    named, contracts = {*WAYS, *WITHOUT}, {contract.name for contract in CONTRACTS.contracts}
    assert not contracts - named, f"add to WAYS how these take TUNED, or to WITHOUT why not: {contracts - named}"
    assert not named - contracts, f"no contracts have these names in WAYS or WITHOUT: {named - contracts}"


@pytest.mark.parametrize("way", [way for ways in WAYS.values() for way in ways], ids=lambda way: way.__name__)
def test_it_takes_them_and_says_what_was_predicted(
    http: httpx.Client, plain: Told, way: Callable[[httpx.Client], Told]
) -> None:
    told = way(http)
    assert {name: told.parameters[name] for name in TUNED} == TUNED
    # The tiny video model's random weights go on too unevenly for any step to be predicted.
    assert way is of_video or 0 < told.skipped < STEPS
    if way not in OF_THEIR_OWN:
        assert told.skipped == plain.skipped


def test_the_parameters_in_a_file_give_it_again(http: httpx.Client, plain: Told) -> None:
    first, again = (http.post("/text_to_image", json=dict(asked)) for asked in (ASKED, plain.parameters))
    assert of_file(again) == plain
    assert again.content == first.content


def test_events_say_which_steps_were_predicted(http: httpx.Client, plain: Told) -> None:
    events = parse_events([http.post("/stream", json=dict(ASKED)).text])
    assert sum(event.data["skipped"] for event in events if event.name == "step") == plain.skipped
    assert next(event.data["skipped_steps"] for event in events if event.name == "image") == plain.skipped
    story = {**ASKED, "prompt": "A little fox looks for its friends in the forest", "num_frames": 6, "format": "events"}
    events = parse_events([http.post("/generate", json=story).text])
    skipped = sum(event.data["skipped"] for event in events if event.name == "progress")
    assert skipped == sum(event.data["skipped_steps"] for event in events if event.name == "frame") > 0


def test_files_of_a_story_say_what_was_predicted(http: httpx.Client) -> None:
    fields = {name: value for name, value in ASKED.items() if name != "model"}
    story = {**fields, "prompt": "A little fox looks for its friends in the forest", "num_frames": 6}
    job = ok(http.post(f"/api/{MODEL}/storyboard", json=story))["session_id"]
    description, *frames, sheet = done(http, f"/api/{job}/status")["results"]
    assert description["skipped_steps"] == sheet["skipped_steps"] == 0
    said = [frame["skipped_steps"] for frame in ok(http.get(description["url"]))["frames"]]
    assert [frame["skipped_steps"] for frame in frames] == said
    assert all(said)
