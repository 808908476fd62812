"""The gateway's client of the image check service."""

from __future__ import annotations

import asyncio

import aiohttp
import numpy as np
import numpy.typing as npt
from PIL import Image

from core.errors import Busy
from gateway.safety.detection import as_seen, worst
from gateway.safety.service import MAX_BATCH
from processes.service_session import open_session

TIMEOUT_S = 60.0
RETRY_S = 5
_FRAME = {"Content-Type": "application/octet-stream"}


class PictureCheck:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str, threshold: float) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._url = url
        self._threshold = threshold
        self._session: aiohttp.ClientSession | None = None

    async def refuses(self, images: list[Image.Image]) -> bool:
        """Whether one of the images must not be shown. Raises Busy when the check does not answer."""
        parts = [images[start : start + MAX_BATCH] for start in range(0, len(images), MAX_BATCH)]
        return any(await asyncio.gather(*(self._refuses(part) for part in parts)))

    async def _refuses(self, images: list[Image.Image]) -> bool:
        seen = await asyncio.to_thread(as_seen, images)
        return worst(await self._scores(seen)) >= self._threshold

    async def _scores(self, seen: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if self._session is None:
            self._session = open_session(self._url, "runner-safety")
        timeout = aiohttp.ClientTimeout(TIMEOUT_S)
        try:
            async with self._session.post(
                "/scores", data=seen.tobytes(), headers=_FRAME, timeout=timeout, raise_for_status=True
            ) as response:
                scores: list[list[float]] = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Busy("images cannot be checked now; try again later", RETRY_S) from error
        return np.asarray(scores, np.float32)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
