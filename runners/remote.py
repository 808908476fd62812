"""Which models have their runners on other machines."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import StartError
from models.catalogue.catalogue import Catalogue
from settings import Settings


def remote_runners(settings: Settings, served: Catalogue) -> Mapping[str, tuple[str, ...]]:
    """Return the addresses of remote runners, by model. Raises StartError."""
    if settings.runners and settings.runner_key is None:
        raise StartError("JUBAKO_RUNNERS needs JUBAKO_RUNNER_KEY, the secret that its runners were started with")
    unknown = [name for name in settings.runners if served.named(name) is None]
    if unknown:
        raise StartError(f"JUBAKO_RUNNERS: {', '.join(unknown)}: not among the served models (JUBAKO_MODELS)")
    return {served.get(name).id: addresses for name, addresses in settings.runners.items()}
