"""The HTTP side of the plain server and of Ray Serve's: FastAPI, with a route for each task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import FastAPI, Form, Response, UploadFile
from pydantic import BaseModel

from benchmarks.peers.pipelines import PlainRequest
from core.generation.request import Task

Draw = Callable[[PlainRequest], Awaitable[bytes]]
"""Returns a PNG."""


class TextToImage(BaseModel):
    prompt: str
    num_inference_steps: int
    seed: int


def form_app(draw: Draw, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    async def answer(task: Task, fields: dict[str, Any], **files: UploadFile) -> Response:
        wanted = PlainRequest.of({"task": task, **fields}, {name: upload.file for name, upload in files.items()})
        return Response(await draw(wanted), media_type="image/png")

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.post("/text_to_image")
    async def text_to_image(body: TextToImage) -> Response:
        return await answer(Task.TEXT_TO_IMAGE, body.model_dump())

    @app.post("/image_to_image")
    async def image_to_image(
        prompt: Annotated[str, Form()],
        num_inference_steps: Annotated[int, Form()],
        seed: Annotated[int, Form()],
        image: UploadFile,
    ) -> Response:
        fields = {"prompt": prompt, "num_inference_steps": num_inference_steps, "seed": seed}
        return await answer(Task.IMAGE_TO_IMAGE, fields, image=image)

    @app.post("/inpaint")
    async def inpaint(
        prompt: Annotated[str, Form()],
        num_inference_steps: Annotated[int, Form()],
        seed: Annotated[int, Form()],
        image: UploadFile,
        mask: UploadFile,
    ) -> Response:
        fields = {"prompt": prompt, "num_inference_steps": num_inference_steps, "seed": seed}
        return await answer(Task.INPAINT, fields, image=image, mask=mask)

    return app
