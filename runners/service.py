"""BentoML runner services: one per served model, in a process of its own, around one step engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import bentoml
from _bentoml_sdk.io_models import IORootModel
from starlette.responses import Response

from errors import Busy
from models.catalogue import full_catalogue
from models.entries import Entry
from models.loading import load
from models.request import GenerationRequest
from runners import wire
from runners.closing import ClosingResponse
from runners.engine import Engine, EngineLimits
from runners.events import Failed
from runners.metrics import MetricsObserver
from settings import Settings


class Frames(IORootModel[bytes]):
    """A stream of `runners.wire` frames."""

    @classmethod
    async def to_http_response(cls, obj: AsyncGenerator[bytes, None], serde: object) -> Response:
        return ClosingResponse(obj, "application/octet-stream")


def runner_services(settings: Settings) -> dict[str, Any]:
    """Make the runner service of every served model.

    Each process that `bentoml serve` starts calls this again and must find the same services, so they
    follow from the settings alone.
    """
    served = full_catalogue(settings.catalogue).only(settings.models)
    return {model: _runner_service(entry, settings) for model, entry in served.entries.items()}


def _runner_service(entry: Entry, settings: Settings) -> Any:
    limits = EngineLimits(
        batch_tokens=settings.batch_tokens or entry.batch_tokens,
        max_running=settings.max_running,
        max_queue=settings.max_queue,
    )

    @bentoml.service(
        name=f"runner-{entry.id}",
        workers=1,
        # BentoML gives each service a card of its own; several models on one share it, and a named card is meant.
        resources={"gpu": 1} if settings.device == "auto" and len(settings.models) == 1 and _has_gpu() else {},
        traffic={"timeout": settings.request_timeout_s, "concurrency": _requests_per_batch(entry, limits)},
    )
    class Runner:
        def __init__(self) -> None:
            self._model = load(entry, settings.device, settings.dtype)
            self._engine = Engine(self._model, limits, MetricsObserver(entry.id))

        @bentoml.api(output_spec=Frames)
        async def generate(self, request: GenerationRequest) -> AsyncGenerator[bytes, None]:
            """Draw a request, streaming its events as frames of `runners.wire`; closing the stream cancels."""
            try:
                ticket = self._engine.submit(request)
            except Busy as error:
                yield wire.encode(Failed(error.code, error.message))
                return
            async with aclosing(ticket.events()) as happenings:
                async for event in happenings:
                    yield wire.encode(event)

        @bentoml.api
        async def state(self) -> dict[str, Any]:
            """Report the model, where it is, and how much it has to do."""
            return {
                "model": entry.id,
                "state": "ready",
                "device": str(self._model.device),
                "dtype": self._model.dtype,
                "running": self._engine.running,
                "queued": self._engine.queued,
            }

        @bentoml.on_shutdown
        def close(self) -> None:
            self._engine.close()

    return Runner


def _requests_per_batch(entry: Entry, limits: EngineLimits) -> int:
    """How many default requests, each guided and so of two samples, fill a batch; autoscalers aim at it."""
    latent_px = 8
    tokens = 2 * (entry.defaults.width // latent_px) * (entry.defaults.height // latent_px)
    return max(1, limits.batch_tokens // tokens)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
