"""The gateway, put together from the settings: for the server, and for programs that generate in their own process."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.gateway import Gateway, Meter
from gateway.residency import Residency
from gateway.runner import Runner
from gateway.safety.policy import Policy
from models.catalogue.catalogue import Catalogue
from models.catalogue.resolve import ServerLimits
from settings import Settings


def assemble(
    settings: Settings,
    catalogue: Catalogue,
    runners: Mapping[str, Runner],
    meter: Meter,
    policy: Policy,
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
        ),
        residency=Residency(catalogue, runners, settings.memory_budget_gib, remote),
        meter=meter,
        policy=policy,
        managed=settings.manage,
    )
