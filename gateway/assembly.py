"""The gateway, built from the settings: for the server, and for programs that generate in their own process."""

from __future__ import annotations

from collections.abc import Mapping

from core.generation.prompt_syntax import PromptSyntax
from core.generation.step_cache import StepCache
from gateway.gateway import Gateway, Meter
from gateway.residency import Residency
from gateway.runner import Runner
from gateway.runner_client import RunnerClient
from gateway.runner_pool import RunnerPool
from gateway.safety.content_policy import ContentPolicy
from gateway.upscaling import Upscaler
from models.catalogue.catalogue import Catalogue
from models.catalogue.resolving.resolve import ServerLimits
from runners.remote import remote_runners
from settings import Settings


def runner_clients(
    settings: Settings, catalogue: Catalogue, local: Mapping[str, Mapping[str, str]]
) -> dict[str, RunnerClient | RunnerPool]:
    """Return a client for each model's runners: at `local` URLs, by service name, or at those of JUBAKO_RUNNERS."""
    key, remote = settings.runner_key, remote_runners(settings, catalogue)
    found: dict[str, RunnerClient | RunnerPool] = {}
    for model in catalogue.entries:
        if model in local:
            here = [RunnerClient(model, url, key, service) for service, url in local[model].items()]
            found[model] = here[0] if len(here) == 1 else RunnerPool(model, here, local=True)
        else:
            found[model] = RunnerPool(model, [RunnerClient(model, url, key) for url in remote[model]])
    return found


def assemble(
    settings: Settings,
    catalogue: Catalogue,
    runners: Mapping[str, Runner],
    meter: Meter,
    policy: ContentPolicy,
    upscaler: Upscaler | None = None,
    *,
    remote: frozenset[str] = frozenset(),
) -> Gateway:
    """Return the gateway of these runners, by model; `remote` are those on other machines."""
    return Gateway(
        catalogue=catalogue,
        runners=runners,
        limits=ServerLimits(
            max_prompt_chars=settings.max_prompt_chars,
            max_num_images=settings.max_num_images,
            max_deadline_s=settings.request_timeout_s,
            tflops=settings.expected_tflops,
            background_deadline_s=settings.job_timeout_s,
            snaps_sizes=settings.snaps_sizes,
            reproducible=settings.reproducible,
            step_cache=StepCache(settings.step_cache),
            prompt_syntax=PromptSyntax(settings.prompt_syntax),
            upscales=settings.upscaler is not None,
        ),
        residency=Residency(catalogue, runners, settings.memory_budget_gib, remote, settings.beside_gib),
        meter=meter,
        policy=policy,
        upscaler=upscaler or Upscaler(),
        managed=settings.manage,
    )
