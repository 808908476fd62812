"""The gateway's end of the hop to the scorer."""

from __future__ import annotations

import asyncio
import json

from models.catalogue.sources import Source
from processes.loading_service import FRAME, LoadingService, Messages
from storyboard.scoring.pairs import ImageTextPair
from storyboard.scoring.wire import encode_asked

TIMEOUT_S = 60.0
_MESSAGES = Messages(
    away="frames cannot be compared with their prompts now; try again later",
    not_loaded="frames cannot be compared with their prompts",
)


class ScorerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._service = LoadingService(url, "runner-scorer", _MESSAGES)

    async def compare(self, source: Source, pair: ImageTextPair) -> float:
        """Return the cosine of a pair by a CLIP, -1 to 1.

        Raises Busy when the scorer does not answer, and LoadFailed, which says what the operator can do.
        """
        await self._service.load(source, json.dumps({"source": source.model_dump(mode="json")}).encode())
        body = await asyncio.to_thread(encode_asked, source, pair)
        cosines: list[float] = json.loads(await self._service.ask("cosines", body, FRAME, TIMEOUT_S))
        return cosines[0]

    async def close(self) -> None:
        await self._service.close()
