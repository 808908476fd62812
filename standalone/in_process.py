"""The served models in this process, without a server: for the RunPod handler, and for sites that generate themselves.

It is the server's own gateway with hosts on one event loop, in a thread of its own. So simultaneous requests, from any
thread or loop, share batches as on the server.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import aclosing
from functools import cache
from typing import Any, TypeVar

from PIL import Image

from api.inpainting import InpaintingForm, OnEvent, generate
from core.generation.events import Event
from core.generation.request import GenerationRequest
from gateway.assembly import assemble
from gateway.gateway import Gateway, Meter
from gateway.media.reading.uploads import with_pixels
from gateway.safety.local import policy_here
from gateway.upscaling import Upscaler, upscaler_of
from models.catalogue.placement.server_placement import single_places
from models.catalogue.serving.served_models import served_catalogue
from runners.host.host import Host
from runners.service import engine_limits, host_options
from runners.state import RunnerState
from runners.upscaling.host import UpscalerHost
from runners.upscaling.service import refuse_unusable
from runners.upscaling.wire import AskedTile, decode_upscaled
from settings import Settings, settings

T = TypeVar("T")


class HostRunner:
    """A host in this process, as the gateway's Runner."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        async with aclosing(self._host.generate(await with_pixels(request))) as events:
            async for event in events:
                yield event

    async def state(self) -> RunnerState:
        return self._host.state()

    async def load(self, device: str | None = None) -> RunnerState:
        self._host.load(device)
        return self._host.state()

    async def unload(self, force: bool = False, device: str | None = None) -> RunnerState:  # noqa: ARG002  # it is the only one
        await self._host.unload(force)
        return self._host.state()


class Unmetered:
    """Charges nobody: the program that runs this process is its only caller."""

    async def count_further(self, requests: int) -> None:
        pass

    async def charge(self, request: GenerationRequest, other_px: int = 0) -> None:
        pass

    async def charge_pixels(self, field: str, pixels: int) -> None:
        pass


def gateway_here(settings: Settings, meter: Meter) -> Gateway:
    """Return a gateway whose models are loaded in this process, on the loop that uses it. Raises StartError."""
    catalogue = served_catalogue(settings)
    places = single_places(settings, catalogue, list(catalogue.entries.values()))
    full_gib = {model: entry.full_gib_on(places[model].devices) for model, entry in catalogue.entries.items()}
    runners = {}
    for model, entry in catalogue.entries.items():
        others_gib = tuple(gib for other, gib in full_gib.items() if other != model)
        options = host_options(settings, places[model].device, others_gib)
        runners[model] = HostRunner(Host(entry, engine_limits(entry, settings), options))
    return assemble(settings, catalogue, runners, meter, policy_here(settings), upscaler_here(settings))


def upscaler_here(settings: Settings) -> Upscaler:
    """Return the upscaler that the settings ask for, in this process. Raises StartError."""
    if settings.upscaler is None:
        return Upscaler()
    refuse_unusable(settings)
    host = UpscalerHost(settings.first_device)

    async def upscaled(tile: AskedTile) -> Image.Image:
        (pixels,) = await host.upscaled([tile])
        return decode_upscaled(pixels, tile)

    return upscaler_of(settings, upscaled)


class InProcess:
    """The gateway, and the event loop on which it runs. Models are loaded when first needed."""

    def __init__(self, settings: Settings) -> None:
        self._gateway = gateway_here(settings, Unmetered())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="jubako", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[Gateway], Coroutine[Any, Any, T]]) -> Future[T]:
        """Start work on the gateway; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work(self._gateway), self._loop)

    def close(self) -> None:
        """Wait for models that are loading, cancel running requests, and end the loop's thread."""
        self.run(unload_all).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def load(self) -> Future[RunnerState]:
        """Begin to load the default model."""
        return self.run(lambda gateway: gateway.runners[gateway.catalogue.default.id].load())


async def unload_all(gateway: Gateway) -> None:
    """Wait for models that are loading, and cancel running requests."""
    for runner in gateway.runners.values():
        await runner.unload(force=True)


@cache
def in_process() -> InProcess:
    """Return this process's instance, created by the first call and closed at exit. Raises StartError."""
    instance = InProcess(settings())
    # An interpreter that exits while threads are computing would abort.
    atexit.register(instance.close)
    return instance


def inpaint(fields: Mapping[str, Any], on_event: OnEvent | None = None) -> list[dict[str, str]]:
    """Generate from the inpainting contract's fields, files as bytes; return its `results`. Blocks.

    Raises JubakoError.
    """
    form = InpaintingForm.of(**fields)
    return in_process().run(lambda gateway: generate(gateway, form, on_event)).result()
