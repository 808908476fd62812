"""Stories that are drawn by Jubako's server, or the storyboard document's way by a process of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image

from benchmarks.client import Client
from benchmarks.subject import REPOSITORY, SCRATCH

FRAMES = 8
LINE_BYTES = 2**26
"""Frames come back on one line."""


@dataclass(frozen=True)
class Told:
    """One story. Frames are in its order."""

    seconds: float
    prompts: list[str]
    images: list[Image.Image]
    scores: list[float]
    tries: list[int]


async def tell(client: Client, story: str, **fields: Any) -> Told:
    """Have Jubako draw a story. Raises RuntimeError when a frame or a score is missing."""
    started_s = time.perf_counter()
    answer = await client.post("/generate", {"prompt": story, "num_frames": FRAMES, **fields})
    seconds = time.perf_counter() - started_s
    frames = answer["frames"]
    if len(frames) != FRAMES or any(frame["clip_score"] is None for frame in frames):
        raise RuntimeError(f"{story!r}: {answer['error']}, {answer['warnings']}")
    return Told(
        seconds,
        [frame["prompt"] for frame in frames],
        [_image(frame["image"]) for frame in frames],
        [frame["clip_score"] for frame in frames],
        [frame["tries"] for frame in frames],
    )


class PlainTeller:
    """`benchmarks.plain_story` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, prompts: Sequence[str], seed: int) -> Told:
        """Have the same frames drawn one after the other. Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": list(prompts), "seed": seed}).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the plain process ended; see {SCRATCH / 'plain_story.log'}")
        told = json.loads(line)
        images = [_image(image) for image in told["images"]]
        return Told(told["seconds"], list(prompts), images, told["scores"], told["tries"])


@asynccontextmanager
async def plain_teller(environment: Mapping[str, str]) -> AsyncGenerator[PlainTeller]:
    """Run the process, warm when the block begins."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with (SCRATCH / "plain_story.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.plain_story"),
            cwd=REPOSITORY,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=LINE_BYTES,
        )
        try:
            teller = PlainTeller(process)
            await teller.tell(["a fox on a blue background"], seed=0)
            yield teller
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


def _image(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB")
