"""BentoML runner services: one per served model, in a process of its own, around one step engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import ceil, inf
from typing import Any, NamedTuple

import bentoml
from _bentoml_sdk.io_models import IORootModel
from bentoml.exceptions import BadInput
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from access.metrics import may_read_runner
from core.errors import InvalidRequest, StartError
from core.generation.request import GenerationRequest
from models.catalogue.entry import Entry
from models.catalogue.memory.bounds import MemoryBounds
from models.catalogue.memory.needs import DIGITS, summed
from models.catalogue.memory.other_processes import gib_beside, gib_for_models
from models.catalogue.placement.place import Place
from models.catalogue.placement.server_placement import replica_places, single_places
from models.catalogue.pointing.model_cache import model_cache
from models.catalogue.resolving.conditioning import REFERENCE_PIXELS
from models.catalogue.resolving.deadlines import longest_deadline_s
from models.catalogue.resolving.resolve import EDITED_PIXELS
from models.catalogue.serving.served_models import served_catalogue
from models.weights.store import stored_tags
from processes.allocator import keep_freed_memory
from processes.drain import Drain
from processes.drain_middleware import Draining
from processes.gateway_watch import DEPENDENCY, gateway_ended
from processes.http.closing_stream import ClosingResponse
from processes.http.request_metrics import INSTEAD, RequestMetrics, metrics_app
from processes.machine.cores import keep_to_cores
from processes.starting import importing
from runners import wire
from runners.host.middleware import put_in_front, refusal
from runners.options import EngineLimits, HostOptions
from runners.remote import remote_runners
from settings import Settings
from settings.startup_log import log_settings

IMAGES_OF_REQUEST = 4
"""Image, mask, reference image and control image; an edit's images are counted in addition."""
OTHER_FIELDS_BYTES = 2**20
Needs = tuple[Mapping[str, float], ...]
"""GiB by device, for each of several replicas."""


class Replica(NamedTuple):
    number: int
    """From 1 on."""
    place: Place
    before_gib: Needs = ()
    """What each replica before it, in the order of JUBAKO_MODELS, needs of each device."""
    others_gib: Needs = ()
    """The most that each other replica may need, including its ControlNets and IP-Adapter."""


class RequestFrame(bentoml.IODescriptor):
    """A request as `runners.wire` writes it, whatever its content type."""

    request: GenerationRequest

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> RequestFrame:  # noqa: ARG003  # BentoML's signature
        try:
            return cls(request=wire.decode_request(await request.body()))
        except wire.BadFrameError as error:
            raise BadInput(str(error)) from error


class Frames(IORootModel[bytes]):
    """A stream of `runners.wire` frames."""

    @classmethod
    async def to_http_response(cls, obj: AsyncGenerator[bytes, None], serde: object) -> Response:  # noqa: ARG003  # BentoML's signature
        return ClosingResponse(obj, "application/octet-stream")


def runner_services(settings: Settings) -> dict[str, tuple[Any, ...]]:
    """Make the services of the local runners of every served model, one for each replica. Raises StartError.

    Each process that `bentoml serve` starts calls this and must get the same services, so they depend only on the
    settings, and on the placement that the first process has decided.
    """
    served = served_catalogue(settings)
    remote = remote_runners(settings, served)
    local = [entry for model, entry in served.entries.items() if model not in remote]
    places = replica_places(settings, served, local)
    replicas_there = [(entry, place) for entry in local for place in places[entry.id]]
    needed_gib = tuple(entry.gib_on(place.devices) for entry, place in replicas_there)
    full_gib = tuple(entry.full_gib_on(place.devices) for entry, place in replicas_there)
    services: dict[str, tuple[Any, ...]] = {}
    before = 0
    for entry in local:
        replicas = []
        for number, place in enumerate(places[entry.id], 1):
            replica = Replica(number, place, needed_gib[:before], full_gib[:before] + full_gib[before + 1 :])
            replicas.append(runner_service(entry, settings, replica))
            before += 1
        services[entry.id] = tuple(replicas)
    return services


def service_name(model: str, number: int) -> str:
    """Return the name of a replica's service."""
    return f"{DEPENDENCY}{model}" if number == 1 else f"{DEPENDENCY}{model}-replica-{number}"


def service_alone(settings: Settings) -> Any:
    """Make the service of a standalone runner. Raises StartError."""
    catalogue = served_catalogue(settings)
    served = list(catalogue.entries.values())
    if len(served) > 1:
        raise StartError(f"JUBAKO_MODELS: a runner by itself serves one model, not {len(served)}; start one for each")
    if settings.runner_key is None:
        raise StartError("JUBAKO_RUNNER_KEY: a runner by itself needs the secret that it shares with its gateways")
    (entry,) = served
    place = single_places(settings, catalogue, served)[entry.id]
    return runner_service(entry, settings, Replica(1, place))


def loads_at_start(needed_gib: Sequence[Mapping[str, float]], budget_gib: Mapping[str, float]) -> bool:
    """Whether the last of these models fits beside those before it, not counting any of these that did not fit.

    Needs and budget are by device; a device without a budget always has room.
    """
    taken_gib: dict[str, float] = {}
    for needed in needed_gib:
        together = summed([taken_gib, needed])
        fits = all(round(budget_gib.get(device, inf) - together[device], DIGITS) >= 0 for device in needed)
        taken_gib = together if fits else taken_gib
    return fits


def engine_limits(entry: Entry, settings: Settings) -> EngineLimits:
    """Return how much work a model's engine takes on."""
    return EngineLimits(
        batch_tokens=settings.batch_tokens or entry.batch_tokens,
        max_running=settings.max_running,
        max_queue=settings.max_queue,
        max_loras=settings.max_loras,
    )


def host_options(settings: Settings, device: str, others_gib: Needs = ()) -> HostOptions:
    """Return how models are loaded, and where; `others_gib` is the most that the other replicas may need."""
    kept = model_cache(settings.model_cache)
    return HostOptions(
        device,
        settings.dtype,
        settings.allow_pickle,
        settings.idle_unload_s,
        kept.sharing,
        kept.compiled,
        MemoryBounds(others_gib, settings.memory_budget_gib, settings.fit, settings.beside_gib),
    )


def runner_service(entry: Entry, settings: Settings, replica: Replica) -> Any:  # noqa: C901  # one class, whose methods count as its branches
    """Make the runner service of one replica of a model."""
    place = replica.place
    limits = engine_limits(entry, settings)
    options = host_options(settings, place.device, replica.others_gib)
    drain = Drain(settings.drain_s)

    @bentoml.service(
        name=service_name(entry.id, replica.number),
        workers=1,
        # No `resources`, so that BentoML hides no card: each service has its place, but may be moved to another card.
        # No access log: the gateway's has every request, and here it would only add polls of the runner's state.
        logging={"access": {"enabled": False}},
        metrics=INSTEAD,
        traffic={"timeout": longest_deadline_s([entry], settings), "concurrency": requests_per_batch(entry, limits)},
    )
    class RunnerService:
        def __init__(self) -> None:
            threads = keep_to_cores(place.slot, place.slots) if place.slots > 1 else None
            # Every process of the server imports this module, but only runners should spend time and memory on torch.
            with importing():
                from runners.host.host import Host
                from runners.host.metrics import MetricsObserver

            keep_freed_memory()
            self._host = Host(
                entry, limits, replace(options, threads=threads), MetricsObserver(entry.id, replica.number)
            )

        @bentoml.on_startup
        async def start(self) -> None:
            from runners.host.gauges import watch

            drain.install(serve_until=gateway_ended)
            if bentoml.server_context.service_type == "entry_service":
                log_settings(settings)
            state = self._host.state()
            # For a device that does not exist, loading reports the error.
            there, budget_gib = state.devices or (), settings.memory_budget_gib
            memory_gib = {
                device: gib_for_models(gib, gib_beside(settings.beside_gib, device, there), budget_gib)
                for device, gib in (state.device_memory_gib or {}).items()
            }
            if state.device in memory_gib:
                # The device as the operator named it, such as auto.
                memory_gib[place.device] = memory_gib[state.device]
            fits = loads_at_start((*replica.before_gib, entry.gib_on(place.devices)), memory_gib)
            self._host.start(load=settings.load == "start" and fits)
            self._watch = asyncio.create_task(watch(entry.id, replica.number, self._host.state))

        def __is_ready__(self) -> bool:
            return self._host.settled and not drain.begun

        @bentoml.api(input_spec=RequestFrame, output_spec=Frames)
        async def generate(self, request: GenerationRequest) -> AsyncGenerator[bytes, None]:
            """Generate a request, streaming its events as frames of `runners.wire`; closing the stream cancels it."""
            async with aclosing(self._host.generate(request)) as events:
                async for event in events:
                    yield wire.encode(event)

        @bentoml.api
        async def state(self) -> dict[str, Any]:
            """Report the model's state, device and load."""
            return self._host.state().as_json()

        @bentoml.api
        async def load(self, device: str | None = None) -> dict[str, Any]:
            """Start loading the model, or moving it to another device; answer with its state, or why it is refused."""
            try:
                self._host.load(device)
            except InvalidRequest as error:
                return {"refused": error.reason}
            await asyncio.sleep(0)
            return self._host.state().as_json()

        @bentoml.api
        async def unload(self, force: bool = False) -> dict[str, Any]:
            """Free the model once its running requests are done, or cancelled by `force`; answer with its state."""
            await self._host.unload(force)
            return self._host.state().as_json()

        @bentoml.on_shutdown
        async def close(self) -> None:
            self._watch.cancel()
            await self._host.close()

    # mypy does not know that the decorator returns a BentoML service. `bentoml build` packs the models it declares.
    service: Any = RunnerService
    service.mount_asgi_app(metrics_app(may_read_runner(settings.metrics_key, settings.runner_key)))
    service.add_asgi_middleware(RequestMetrics)
    put_in_front(service, settings, max_request_bytes(entry, settings.max_upload_bytes), settings.runner_key)
    service.add_asgi_middleware(Draining, drain=drain, refusal_for=refusal, generates=_generates)
    service.models.extend(bentoml.models.BentoModel(tag) for tag in stored_tags(entry))
    return service


def _generates(scope: Scope) -> bool:
    return scope.get("method") == "POST"


def max_request_bytes(entry: Entry, max_upload_bytes: int) -> int:
    """Return the largest size of a request for this model. Images come as pixels, and videos as files: uploaded ones,
    and results that an MCP client refers to.
    """
    pixels = max(entry.limits.max_pixels, EDITED_PIXELS, REFERENCE_PIXELS)
    videos_bytes = 2 * max_upload_bytes if entry.family_spec.animation else 0
    return (IMAGES_OF_REQUEST + entry.limits.max_images) * pixels * 3 + videos_bytes + OTHER_FIELDS_BYTES


def requests_per_batch(entry: Entry, limits: EngineLimits) -> int:
    """Return how many default requests, of two samples each for guidance, fill a batch; autoscalers aim at this."""
    latent_px = 8
    frames = ceil(entry.defaults.num_frames / entry.family_spec.frames_multiple)
    tokens = 2 * frames * (entry.defaults.width // latent_px) * (entry.defaults.height // latent_px)
    return max(1, limits.batch_tokens // tokens)
