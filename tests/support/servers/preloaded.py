"""Imported once by the process that servers of tests are forked from: what a server's processes import.

The library for metrics reads at its import where they are kept, and each server has a folder of its own for them,
which a fork takes up later (`forked._keep_metrics`).
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from processes.starting import importing

# Before torch is imported, whose teams of threads would be missing from a fork.
os.environ["OMP_NUM_THREADS"] = "1"

MODULES = (
    "_bentoml_impl.client",
    "_bentoml_impl.server.app",
    "_bentoml_impl.worker.service",
    "access.exposure",
    "anyio._backends._asyncio",
    "api.contracts",
    "api.http.service_decorators",
    "api.http.joint_docs",
    "api.jobs.assembly",
    "api.middleware.paths",
    "api.middleware.stack",
    "api.typed.schemas",
    "api.typed.file_answers",
    "api.typed.storyboard",
    "api.typed.streaming",
    "api.typed.upscaling",
    "bentoml._internal.configuration.v2",
    "bentoml._internal.runner.container",
    "bentoml._internal.server.http.instruments",
    "bentoml._internal.server.http.traffic",
    "bentoml_cli.cli",
    "bentoml_cli.serve",
    "circus.arbiter",
    "deploy.packing",
    "diffusers.guiders",
    "diffusers.models.controlnets",
    "docket",
    "docket._redis_sentinel",
    "gateway.assembly",
    "gateway.safety.picture_check",
    "gateway.safety.service",
    "gateway.upscaler_client",
    "greenlet",
    "limits.aio.storage",
    "models.weights.addons.controlnets",
    "models.weights.addons.ip_adapters",
    "models.weights.loading",
    "models.weights.prompts",
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.sdk.trace.export",
    "processes.drain",
    "processes.http.protocol",
    "processes.http.request_metrics",
    "processes.http.time_limit",
    "processes.sockets",
    "processes.supervisor",
    "runners.host.gauges",
    "runners.host.host",
    "runners.host.metrics",
    "runners.service",
    "runners.upscaling.service",
    "settings.startup_log",
    "storyboard.job_kind",
    "storyboard.planning.choice",
    "storyboard.scoring.client",
    "storyboard.scoring.service",
    "tornado.platform.asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
FAMILIES = ("stable-diffusion", "stable-diffusion-xl", "wan-ti2v", "flux2-klein")
"""Of most servers' models; the pipelines of others are imported by the servers that have them."""


def _import_all() -> None:
    """Import them, and read the shipped catalogue, which each process has read otherwise."""
    for name in MODULES:
        importlib.import_module(name)
    import diffusers

    from models.catalogue.catalogue import SHIPPED, load_catalogue
    from models.catalogue.families import FAMILIES as DECLARED

    load_catalogue(*SHIPPED)
    for name in FAMILIES:
        for pipeline in DECLARED[name].pipelines.values():
            getattr(diffusers, pipeline)


def _keep_loggers() -> None:
    """BentoML's configurations turn off all loggers that were made before, usually none of ours."""
    from bentoml._internal.log import CLI_LOGGING_CONFIG, SERVER_LOGGING_CONFIG

    for configuration in (CLI_LOGGING_CONFIG, SERVER_LOGGING_CONFIG):
        configuration["disable_existing_loggers"] = False


with importing():
    _import_all()
    _keep_loggers()
assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would have only one of this process's threads"
