"""The BentoML runner service that compares frames with their prompts; all stories share its batches."""

from __future__ import annotations

from typing import Any

import bentoml
from bentoml.exceptions import BadInput
from starlette.requests import Request

from models.catalogue.sources import Source
from processes.drain import Drain
from processes.gateway_watch import gateway_ended
from processes.loading_service import answer_to_load
from runners.host.middleware import put_in_front
from settings import settings
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.wire import decode_asked

MAX_BATCH = 16
MAX_LATENCY_MS = 60_000
"""BentoML drops requests that it expects to take longer; a comparison takes milliseconds, and none may be dropped."""
MAX_FRAME_BYTES = 2**26
"""Room for an image with more pixels than any model generates."""
NAME = "_scorer"
"""Cannot be a model's id, which begins with a letter or a digit."""


class AskedFrame(bentoml.IODescriptor):
    """A comparison in the format of `storyboard.scoring.wire`, as a batch of one."""

    asked: list[Any]

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> AskedFrame:  # noqa: ARG003  # BentoML's signature
        try:
            return cls(asked=[decode_asked(await request.body())])
        except ValueError as error:
            raise BadInput("the frame is not a comparison") from error


def scorer_service(device: str) -> Any:
    """Make the service. Its process stays small until the first story: only then does it import torch and a CLIP."""

    @bentoml.service(name="runner-scorer", workers=1, logging={"access": {"enabled": False}})
    class Scorer:
        def __init__(self) -> None:
            self._host = ClipHost(device)

        @bentoml.on_startup
        async def take_signals(self) -> None:
            Drain(settings().drain_s).install(serve_until=gateway_ended)

        @bentoml.api
        async def load(self, source: Source) -> dict[str, str]:
            """Load a CLIP, fetching it if needed; if that fails, the answer says why."""
            return await answer_to_load(self._host.load(source))

        @bentoml.api(input_spec=AskedFrame, batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
        async def cosines(self, asked: list[Any]) -> list[float]:
            """Return the cosine of each pair, -1 to 1; takes `storyboard.scoring.pairs.ScoringRequest`."""
            return await self._host.cosines(asked)

        @bentoml.on_shutdown
        def close(self) -> None:
            self._host.close()

    service: Any = Scorer
    put_in_front(service, settings(), MAX_FRAME_BYTES)
    return service
