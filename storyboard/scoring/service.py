"""The BentoML runner service that compares frames with their prompts; all stories share its batches."""

from __future__ import annotations

from typing import Any

import bentoml

from core.errors import JubakoError
from models.catalogue.sources import Source
from processes.drain import Drain
from processes.gateway_watch import gateway_ended
from settings import settings
from storyboard.scoring.clip_host import ClipHost

MAX_BATCH = 16
MAX_LATENCY_MS = 60_000
"""BentoML gives up requests that it expects to take longer; a comparison takes milliseconds, and none may be."""
NAME = "_scorer"
"""Not a model's id: those begin with a letter or a digit."""


def scorer_service(device: str) -> Any:
    """Make the service. Its process stays small until the first story: only then it imports torch, and loads."""

    @bentoml.service(name="runner-scorer", workers=1, logging={"access": {"enabled": False}})
    class Scorer:
        def __init__(self) -> None:
            self._host = ClipHost(device)

        @bentoml.on_startup
        async def take_signals(self) -> None:
            Drain(settings().drain_s).install(serve_until=gateway_ended)

        @bentoml.api
        async def load(self, source: Source) -> dict[str, str]:
            """Load a CLIP, fetching it where needed; answer with why it cannot be, if so."""
            try:
                await self._host.load(source)
            except JubakoError as error:
                return {"refused": error.message}
            return {}

        @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
        async def cosines(self, asked: list[Any]) -> list[float]:
            """Say how alike the two of each pair are, -1 to 1; takes `storyboard.scoring.clip_host.Asked`."""
            return await self._host.cosines(asked)

        @bentoml.on_shutdown
        def close(self) -> None:
            self._host.close()

    return Scorer
