"""What OpenAI's newest client makes of videos, chats, responses and Azure's addresses, and what Hugging Face's makes of
its inference API: `python dialects.py ADDRESS PICTURE` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

ADDRESS, PICTURE = sys.argv[1], Path(sys.argv[2])
POLL = {"poll_interval_ms": 200}
NO_KEY: dict[str, Any] = {"api_key": "not-needed", "max_retries": 0}
MESSAGES: Any = [{"role": "user", "content": "a red apple"}]
TOOLS: Any = [{"type": "image_generation", "size": "128x64", "partial_images": 1}]


def video_fields(video: Any) -> dict[str, Any]:
    return {name: getattr(video, name) for name in ("status", "progress", "size", "seconds", "model", "error")}


def with_videos(client: Any) -> dict[str, Any]:
    videos, wanted = client.videos, {"prompt": "a red apple", "size": "64x64"}
    extra = {"extra_body": {"seed": 7, "num_inference_steps": 2}, **POLL}
    drawn = videos.create_and_poll(**wanted, model="tiny-video", seconds="1", **extra)
    started = videos.create_and_poll(**wanted, input_reference=PICTURE, **POLL)
    remixed = videos.poll(videos.remix(drawn.id, prompt="a blue apple").id, **POLL)
    listed = [video.id for video in videos.list(limit=2)]
    files = {
        variant: b64encode(videos.download_content(drawn.id, variant=variant).read()).decode()
        for variant in ("video", "thumbnail", "spritesheet")
    }
    return {
        "drawn": {**video_fields(drawn), "seed": drawn.seed},
        "started": video_fields(started),
        "remixed": {**video_fields(remixed), "is_from": remixed.remixed_from_video_id == drawn.id},
        "listed": [remixed.id, started.id, drawn.id] == listed[:3],
        "files": files,
        "deleted": videos.delete(drawn.id).deleted,
        "gone": failure(lambda: videos.retrieve(drawn.id)),
        "long": failure(lambda: videos.create(**wanted, seconds="12")),
    }


def failure(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        call()
    except openai.APIStatusError as error:
        return {"class": type(error).__name__, "message": error.message, "param": error.param, "code": error.code}
    raise AssertionError("it succeeded")


def with_chats(client: Any) -> dict[str, Any]:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, seed=7)
    streamed = client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
    deltas = [choice.delta for chunk in streamed for choice in chunk.choices]
    response = client.responses.create(model="gpt-5", input="a red apple", tools=TOOLS)
    with client.responses.stream(model="tiny", input="a red apple", tools=TOOLS) as events:
        types = [event.type for event in events]
        final = events.get_final_response()
    return {
        "image": answer.choices[0].message.images[0]["image_url"]["url"],
        "streamed": [image["image_url"]["url"] for delta in deltas for image in getattr(delta, "images", [])],
        "response": response.output[0].result,
        "events": types,
        "final": final.output[0].result,
        "wrong": failure(lambda: client.chat.completions.create(model="tiny", messages=MESSAGES, n=11)),
    }


def with_azure() -> dict[str, Any]:
    azure = {"azure_endpoint": ADDRESS, "api_version": "2025-04-01-preview", **NO_KEY}
    with openai.AzureOpenAI(**azure) as client:
        drawn = client.images.generate(model="tiny", prompt="a red apple", quality="hd", style="vivid")
        edited = client.images.edit(model="tiny-edit", image=PICTURE, prompt="a blue apple")
        unknown = failure(lambda: client.images.generate(model="nothing", prompt="a red apple"))
        models = [model.id for model in client.models.list()]
    with openai.AzureOpenAI(**azure, azure_deployment="tiny") as client:
        deployed: Any = client.images.generate(model="whatever", prompt="a red apple")
    images = {"drawn": drawn, "edited": edited, "deployed": deployed}
    shown = {name: answer.data and answer.data[0].b64_json for name, answer in images.items()}
    return {**shown, "hint": deployed.hint, "unknown": unknown, "models": models}


def with_hugging_face() -> dict[str, Any]:
    bare, named = InferenceClient(base_url=ADDRESS), InferenceClient(f"{ADDRESS}/models/tiny")
    chat: Any = bare.chat_completion(MESSAGES).choices[0].message
    return {
        "bare": parameters_in(bare.text_to_image("a red apple", seed=7)),
        "named": parameters_in(named.text_to_image("a red apple", seed=7, num_inference_steps=3, width=128)),
        "changed": parameters_in(named.image_to_image(PICTURE.read_bytes(), prompt="a blue apple")),
        "raw": parameters_in(named.image_to_image(PICTURE)),
        "asynchronous": parameters_in(asyncio.run(AsyncInferenceClient(base_url=ADDRESS).text_to_image("a red apple"))),
        "chat": chat["images"],
        "wrong": hub_failure(named, width=7),
        "unknown": hub_failure(InferenceClient(f"{ADDRESS}/models/nothing")),
    }


def hub_failure(client: InferenceClient, **parameters: Any) -> dict[str, Any]:
    try:
        client.text_to_image("a red apple", **parameters)
    except HfHubHTTPError as error:
        return {"status": error.response.status_code, "message": str(error)}
    raise AssertionError("it succeeded")


def parameters_in(image: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = json.loads(image.info["parameters"])
    return parameters


with openai.OpenAI(base_url=f"{ADDRESS}/v1", **NO_KEY) as openai_client:
    seen = {"videos": with_videos(openai_client), "chats": with_chats(openai_client)}
json.dump({**seen, "azure": with_azure(), "hugging_face": with_hugging_face()}, sys.stdout)
