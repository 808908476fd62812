"""Finds a checkpoint's sampler among its family's, by the scheduler's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.catalogue.families.schedulers import SIGMAS, Samplers, SchedulerSpec


def sampler_of(config: Mapping[str, Any], samplers: Samplers) -> str | None:
    """Return the name of the sampler; None where the family has none of its class."""
    kind = config.get("_class_name")
    bases = [name for name in samplers.schedules if samplers[name].class_name == kind]
    if not bases:
        return None
    # Samplers of one class differ in their settings: take the one that agrees most with the configuration.
    base = max(bases, key=lambda name: (_agreeing(samplers[name], config), samplers.find(str(kind)) == name))
    schedule = next((name for name in SIGMAS if config.get(f"use_{name}_sigmas")), None)
    return f"{base}_{schedule}" if f"{base}_{schedule}" in samplers else base


def _agreeing(spec: SchedulerSpec, config: Mapping[str, Any]) -> int:
    """Return the number of settings that agree with the configuration, less those that do not."""
    return sum(1 if config.get(name) == value else -1 for name, value in spec.overrides.items() if name in config)
