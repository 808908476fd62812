"""The Bento: one gateway service that speaks HTTP, in front of one runner service for each served model.

Every process that `bentoml serve` starts imports this module and must find the same services, so it depends only on
the settings, and on the placement that the first process hands to the others (`models.catalogue.placement`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import bentoml
from starlette.responses import Response

from access.exposure import served_host, warn_if_exposed
from access.keys import Keyring
from access.metrics import may_read_gateway
from access.rates import RateLimiter
from access.sites import trust_proxies
from api.contracts import CONTRACTS
from api.http.joint_docs import docs_app
from api.http.result_files import files_app
from api.http.service_decorators import in_front_of, mounted
from api.jobs.assembly import make_desk
from api.jobs.routes import desk_app
from api.middleware.paths import UnderPrefix
from api.middleware.stack import entrance, middleware_stack
from api.predictions.answers import WEBHOOK_BODIES
from api.typed.bentoml_tasks import task_api
from api.typed.file_answers import PictureFile, VideoFile, answer_with_file
from api.typed.forms import (
    Edit,
    ImageToImage,
    ImageToVideo,
    Inpaint,
    Stream,
    TextToImage,
    TextToVideo,
    TypedCall,
    Upscale,
)
from api.typed.schemas import typed_description
from api.typed.storyboard import StoryForm, answer_with_storyboard
from api.typed.streaming import EventStream, stream_events
from api.typed.upscaling import answer_with_upscaled
from core.logs import show_log
from deploy.packing import BuildArguments, allow_other_models, image_of
from gateway.assembly import assemble, runner_clients
from gateway.safety.blocked_words import read_blocked_words
from gateway.safety.content_policy import ContentPolicy
from gateway.safety.picture_check import PictureCheck
from gateway.safety.service import NAME as PICTURES
from gateway.safety.service import safety_services
from gateway.upscaler_client import UpscalerClient
from gateway.upscaling import upscaler_of
from models.catalogue.resolving.deadlines import longest_deadline_s
from models.catalogue.serving.served_models import log_ignored, served_catalogue
from processes.allocator import return_freed_memory
from processes.drain import Drain
from processes.http.protocol import bound_clients
from processes.http.request_metrics import INSTEAD, RequestMetrics, metrics_app
from processes.http.time_limit import limit_time
from processes.sockets import remove_dead_sockets
from processes.starting import starting
from processes.supervisor import end_at_second_signal, end_with_supervisor
from runners.remote import remote_runners
from runners.service import runner_services
from runners.upscaling.service import NAME as UPSCALER
from runners.upscaling.service import upscaler_services
from settings import settings
from settings.locations import local_folder
from settings.startup_log import log_settings
from storage.client import open_storage
from storage.private import write_privately
from storyboard.files.answer import StoryboardAnswer
from storyboard.maker import Maker
from storyboard.planning.choice import planner_for
from storyboard.scoring.client import ScorerClient
from storyboard.scoring.scorers import Scorers
from storyboard.scoring.service import NAME as SCORER
from storyboard.scoring.service import scorer_service

with starting():
    SETTINGS = settings()
    KEYRING = Keyring.of(SETTINGS)
    WORDS = read_blocked_words(SETTINGS.blocked_words) if SETTINGS.checks_prompts else None
    CHECKS: Mapping[str, Any] = safety_services(SETTINGS)
    UPSCALERS: Mapping[str, Any] = upscaler_services(SETTINGS)
    CATALOGUE = served_catalogue(SETTINGS)
    RUNNERS: Mapping[str, tuple[Any, ...]] = runner_services(SETTINGS)
show_log()
trust_proxies(SETTINGS.trusted_proxies)
end_at_second_signal()
end_with_supervisor()
bound_clients()
limit_time()
allow_other_models()
BUILD = bentoml.use_arguments(BuildArguments)
SCORERS: Mapping[str, Any] = {SCORER: scorer_service(SETTINGS.first_device)}
REPLICAS = {service.name: service for replicas in RUNNERS.values() for service in replicas}
LIMITER = RateLimiter(SETTINGS.redis)
DRAIN = Drain(SETTINGS.drain_s)
ANSWER_MARGIN_S = 30.0
"""Added to the gateway's own timeout, so that runners, which end a request at its deadline, are the first to say so."""


@bentoml.service(
    name="jubako",
    traffic={"timeout": longest_deadline_s(CATALOGUE.entries.values(), SETTINGS) + ANSWER_MARGIN_S},
    metrics=INSTEAD,
    # The access log would fail on a content type that is not UTF-8.
    logging={"access": {"request_content_type": False}},
    image=image_of(BUILD),
    labels={"variant": BUILD.variant},
)
@mounted(
    (metrics_app(may_read_gateway(SETTINGS.metrics_key, KEYRING)), "/"),
    (docs_app(CONTRACTS, typed_description), "/"),
    (files_app(local_folder(SETTINGS.storage_location)), "/"),
    (desk_app, "/"),
    *CONTRACTS.mounts,
)
@in_front_of({**REPLICAS, **CHECKS, **SCORERS, **UPSCALERS})
class Jubako:
    """Image generation with diffusers models. GET /models lists what is served."""

    def __init__(self) -> None:
        return_freed_memory()
        log_settings(SETTINGS)
        write_privately(SETTINGS)
        warn_if_exposed(served_host(sys.argv), KEYRING.closed)
        self._clients = runner_clients(
            SETTINGS,
            CATALOGUE,
            {model: {service.name: service.url for service in services} for model, services in RUNNERS.items()},
        )
        self._pictures = PictureCheck(CHECKS[PICTURES].url, SETTINGS.safety_threshold) if CHECKS else None
        self._upscaler = UpscalerClient(UPSCALERS[UPSCALER].url) if UPSCALERS else None
        self.gateway = assemble(
            SETTINGS,
            CATALOGUE,
            self._clients,
            LIMITER,
            ContentPolicy(WORDS, self._pictures),
            upscaler_of(SETTINGS, None if self._upscaler is None else self._upscaler.upscaled),
            remote=frozenset(remote_runners(SETTINGS, CATALOGUE)),
        )
        log_ignored(SETTINGS, CATALOGUE)
        self._scorer = ScorerClient(SCORERS[SCORER].url)
        self.scorers = Scorers(SETTINGS, self._scorer.compare)
        self.storage = open_storage(SETTINGS)
        self.maker = Maker(self.gateway, planner_for(SETTINGS), self.scorers, SETTINGS)
        self.desk = make_desk(SETTINGS, self.maker, self.storage, KEYRING, WEBHOOK_BODIES)

    @bentoml.on_startup
    async def take_signals(self) -> None:
        DRAIN.install(self.desk.finished)
        await asyncio.to_thread(remove_dead_sockets)

    async def __is_ready__(self) -> bool:
        """Whether a model can generate; BentoML also asks each runner, which is ready once its first load has ended."""
        if DRAIN.begun:
            return False
        states = await asyncio.gather(*(client.state() for client in self._clients.values()))
        return any(state.state.serves for state in states)

    @task_api(TextToImage, PictureFile)
    async def text_to_image(self, call: TypedCall[TextToImage]) -> Response:
        """Generate an image from a prompt."""
        return await answer_with_file(self.gateway, call)

    @task_api(ImageToImage, PictureFile)
    async def image_to_image(self, call: TypedCall[ImageToImage]) -> Response:
        """Generate an image from a prompt, starting from an image."""
        return await answer_with_file(self.gateway, call)

    @task_api(Inpaint, PictureFile)
    async def inpaint(self, call: TypedCall[Inpaint]) -> Response:
        """Repaint the masked part of an image."""
        return await answer_with_file(self.gateway, call)

    @task_api(Edit, PictureFile)
    async def edit(self, call: TypedCall[Edit]) -> Response:
        """Edit one or more images as a prompt says."""
        return await answer_with_file(self.gateway, call)

    @task_api(TextToVideo, VideoFile)
    async def text_to_video(self, call: TypedCall[TextToVideo]) -> Response:
        """Generate a video from a prompt."""
        return await answer_with_file(self.gateway, call)

    @task_api(ImageToVideo, VideoFile)
    async def image_to_video(self, call: TypedCall[ImageToVideo]) -> Response:
        """Generate a video from a prompt and its first frame."""
        return await answer_with_file(self.gateway, call)

    @bentoml.api(input_spec=Upscale, output_spec=PictureFile)
    async def upscale(self, call: TypedCall[Upscale]) -> Response:
        """Upscale an image, without generating it again."""
        return await answer_with_upscaled(self.gateway, call)

    @bentoml.api(input_spec=Stream, output_spec=EventStream)
    async def stream(self, call: TypedCall[Stream]) -> AsyncGenerator[str, None]:
        """Do any task, streaming progress, previews and results as server-sent events."""
        async with aclosing(stream_events(self.gateway, call)) as events:
            async for event in events:
                yield event

    @bentoml.api(input_spec=StoryForm, output_spec=StoryboardAnswer)
    async def storyboard(self, call: TypedCall[StoryForm]) -> Response:
        """Break a story into scenes and generate an image of each."""
        return await answer_with_storyboard(self.maker, call)

    @bentoml.on_shutdown
    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        if self._pictures is not None:
            await self._pictures.close()
        if self._upscaler is not None:
            await self._upscaler.close()
        await self._scorer.close()


_served: Any = Jubako
for middleware, options in (
    *entrance(SETTINGS, CONTRACTS),
    (RequestMetrics, {}),
    *middleware_stack(SETTINGS, KEYRING, LIMITER, CONTRACTS, DRAIN),
    (UnderPrefix, {"contracts": CONTRACTS}),
):
    _served.add_asgi_middleware(middleware, **options)
