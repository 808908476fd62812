"""What OpenAI's newest client, LiteLLM and LangChain make of a server: `python clients.py ADDRESS PICTURE` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

# LiteLLM would fetch a list of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # type: ignore[import-not-found]
import openai
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper  # type: ignore[import-not-found]
from litellm.types.videos.utils import extract_original_video_id  # type: ignore[import-not-found]

POLL_S = 0.2
ADDRESS, PICTURE = sys.argv[1], Path(sys.argv[2])
API = {"api_base": f"{ADDRESS}/v1", "api_key": "not-needed"}
APPLE: dict[str, Any] = {"model": "openai/tiny", "prompt": "a red apple", "max_retries": 0, **API}


def shown(answer: Any) -> dict[str, Any]:
    images = [image.b64_json or image.url for image in answer.data]
    return {"images": images, "usage": answer.usage and answer.usage.model_dump()}


def with_litellm() -> dict[str, Any]:
    seen: dict[str, Any] = {
        "generated": shown(litellm.image_generation(**APPLE, n=2, size="128x64", seed=7)),
        "asynchronous": shown(asyncio.run(litellm.aimage_generation(**APPLE, seed=7))),
        "by_address": shown(litellm.image_generation(**{**APPLE, "model": "openai/dall-e-3"}, quality="hd")),
    }
    with PICTURE.open("rb") as picture:
        edit = {**APPLE, "model": "openai/tiny-edit", "image": [picture], "prompt": "a blue apple"}
        seen["edited"] = shown(litellm.image_edit(**edit))
    try:
        litellm.image_generation(**APPLE, size="7x7")
    except litellm.exceptions.BadRequestError as error:
        seen["error"] = {"status": error.status_code, "message": error.message}
    seen["video"] = video_with_litellm()
    return seen


def video_with_litellm() -> dict[str, Any]:
    wanted = {"model": "openai/tiny-video", "prompt": "a red apple", "seconds": "1", "size": "64x64", "user": "me"}
    video = litellm.video_generation(**wanted, **API)
    while (video := litellm.video_status(video.id, **API)).status in ("queued", "in_progress"):
        time.sleep(POLL_S)
    file = litellm.video_content(video.id, **API)
    # It writes the model into ids, where an answer has it.
    listed = [
        extract_original_video_id(each["id"])
        for each in litellm.video_list(custom_llm_provider="openai", **API)["data"]
    ]
    fields = {name: getattr(video, name) for name in ("status", "progress", "size", "seconds", "model", "error")}
    return {**fields, "file": b64encode(file).decode(), "is_listed": extract_original_video_id(video.id) in listed}


def with_langchain() -> dict[str, Any]:
    models = ("dall-e-2", "dall-e-3")
    wrappers = [
        DallEAPIWrapper(model=model, base_url=API["api_base"], api_key=API["api_key"], size="64x64") for model in models
    ]
    return {"addresses": [wrapper.run("a red apple") for wrapper in wrappers]}


def with_openai() -> dict[str, Any]:
    with openai.OpenAI(base_url=API["api_base"], api_key="not-needed", max_retries=0) as client:
        answer = client.images.generate(model="tiny", prompt="a red apple", n=10, extra_body={"seed": 7})
        streamed = client.images.generate(model="tiny", prompt="a red apple", stream=True, partial_images=1)
        edited = client.images.edit(model="tiny-edit", image=[PICTURE.read_bytes()], prompt="a blue apple")
        return {
            "version": openai.__version__,
            "generated": shown(answer),
            "id": answer._request_id,
            "events": [event.type for event in streamed],
            "edited": shown(edited),
            "models": [model.id for model in client.models.list()],
        }


json.dump({"openai": with_openai(), "litellm": with_litellm(), "langchain": with_langchain()}, sys.stdout)
