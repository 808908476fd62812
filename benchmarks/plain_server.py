"""The obvious server: FastAPI around the pipeline, one request at a time.

Start it with `uvicorn benchmarks.plain_server:app`.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import torch
from fastapi import FastAPI, Form, Request, Response, UploadFile
from PIL import Image
from pydantic import BaseModel

from benchmarks.subject import load_plain, measured_entry
from core.request import Task


class TextToImage(BaseModel):
    prompt: str
    num_inference_steps: int
    seed: int


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    app.state.entry = measured_entry()
    app.state.pipelines = load_plain(app.state.entry).pipelines
    with ThreadPoolExecutor(max_workers=1) as app.state.worker:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.post("/text_to_image")
async def text_to_image(request: Request, body: TextToImage) -> Response:
    size = {"width": _defaults(request).width, "height": _defaults(request).height}
    return await _answer(request, Task.TEXT_TO_IMAGE, **body.model_dump(), **size)


@app.post("/image_to_image")
async def image_to_image(
    request: Request,
    prompt: Annotated[str, Form()],
    num_inference_steps: Annotated[int, Form()],
    seed: Annotated[int, Form()],
    image: UploadFile,
) -> Response:
    return await _answer(
        request,
        Task.IMAGE_TO_IMAGE,
        prompt=prompt,
        num_inference_steps=num_inference_steps,
        seed=seed,
        strength=_defaults(request).strength,
        image=Image.open(image.file).convert("RGB"),
    )


@app.post("/inpaint")
async def inpaint(
    request: Request,
    prompt: Annotated[str, Form()],
    num_inference_steps: Annotated[int, Form()],
    seed: Annotated[int, Form()],
    image: UploadFile,
    mask: UploadFile,
) -> Response:
    picture = Image.open(image.file).convert("RGB")
    return await _answer(
        request,
        Task.INPAINT,
        prompt=prompt,
        num_inference_steps=num_inference_steps,
        seed=seed,
        strength=_defaults(request).strength,
        image=picture,
        mask_image=Image.open(mask.file).convert("L"),
        width=picture.width,
        height=picture.height,
    )


def _defaults(request: Request) -> Any:
    return request.app.state.entry.defaults


async def _answer(request: Request, task: Task, *, seed: int, **arguments: Any) -> Response:
    state = request.app.state
    draw = partial(_draw, state.pipelines[task], seed, state.entry.defaults.guidance_scale, arguments)
    png = await asyncio.get_running_loop().run_in_executor(state.worker, draw)
    return Response(png, media_type="image/png")


def _draw(pipeline: Any, seed: int, guidance_scale: float, arguments: dict[str, Any]) -> bytes:
    generator = torch.Generator("cpu").manual_seed(seed)
    picture = pipeline(**arguments, guidance_scale=guidance_scale, generator=generator).images[0]
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()
