"""The obvious server: FastAPI around the pipeline, one request at a time.

Start it with `uvicorn benchmarks.peers.plain:app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from benchmarks.peers.form_app import form_app
from benchmarks.peers.pipelines import Pipelines, PlainRequest, png


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    with ThreadPoolExecutor(max_workers=1) as app.state.worker:
        app.state.pipelines = Pipelines.load()
        yield


async def draw(wanted: PlainRequest) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(app.state.worker, _draw, wanted)


def _draw(wanted: PlainRequest) -> bytes:
    return png(app.state.pipelines.draw([wanted])[0])


app = form_app(draw, lifespan)
