"""The placement of the served models, decided by a server's first process and passed on in the environment.

Every process of a server must define the same services, but would see different amounts of free memory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from core.errors import StartError
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.placement.machine_spots import spots_for
from models.catalogue.placement.place import Demand, Place
from models.catalogue.placement.planner import plan
from processes.machine.cards import count_as_nvml
from settings import Settings

log = logging.getLogger("jubako")

KEPT = "_JUBAKO_PLACES"
"""For child processes, not for operators."""
Places = Mapping[str, tuple[Place, ...]]


def replica_places(settings: Settings, served: Catalogue, local: Sequence[Entry]) -> Places:
    """Return the places of each local model's replicas. Raises StartError."""
    demands = _demands(settings, served, local)
    given = settings.device, settings.memory_budget_gib, settings.beside_gib, demands
    asked = hashlib.sha256(repr(given).encode()).hexdigest()
    kept = json.loads(os.environ.get(KEPT, "{}"))
    if kept.get("asked") != asked:
        kept = {"asked": asked, "places": _decide(settings, demands)}
        os.environ[KEPT] = json.dumps(kept)
    return {model: tuple(map(_read, places)) for model, places in kept["places"].items()}


def single_places(settings: Settings, served: Catalogue, local: Sequence[Entry]) -> Mapping[str, Place]:
    """Return the place of each model, for a process that runs one replica of each. Raises StartError."""
    places = replica_places(settings, served, local)
    for model, several in places.items():
        if len(several) > 1:
            raise StartError(
                f"JUBAKO_REPLICAS: this process runs one replica of {model}, not {len(several)}; "
                "`bentoml serve service:Jubako` runs several"
            )
    return {model: place for model, (place,) in places.items()}


def _read(written: Sequence[Any]) -> Place:
    device, slot, slots, others = written
    return Place(device, slot, slots, tuple(others))


def _decide(settings: Settings, demands: Sequence[Demand]) -> Places:
    count_as_nvml()
    spots = spots_for(settings.device, settings.memory_budget_gib, sum(settings.beside_gib.values()))
    decided = plan(spots, demands)
    for note in decided.notes:
        log.warning("%s", note)
    for model, places in decided.places.items():
        log.info("%s runs on %s", model, ", ".join(map(str, places)))
    return decided.places


def _demands(settings: Settings, served: Catalogue, local: Sequence[Entry]) -> list[Demand]:
    replicas = _replicas(settings, served, local)
    every = settings.replicas.get("*", 1)
    return [
        Demand(
            entry.id,
            entry.memory_gib,
            _count(replicas.get(entry.id, every)),
            entry.devices,
            entry.device_count,
            tuple(entry.elsewhere_gib.items()),
        )
        for entry in local
    ]


def _count(asked: int | Literal["auto"]) -> int | None:
    return None if asked == "auto" else asked


def _replicas(settings: Settings, served: Catalogue, local: Sequence[Entry]) -> dict[str, int | Literal["auto"]]:
    here = {entry.id for entry in local}
    found: dict[str, int | Literal["auto"]] = {}
    for name, count in settings.replicas.items():
        entry = served.named(name)
        if name == "*":
            continue
        if entry is None or entry.id not in here:
            why = "not among the served models (JUBAKO_MODELS)" if entry is None else "runs elsewhere (JUBAKO_RUNNERS)"
            raise StartError(f"JUBAKO_REPLICAS: {name}: {why}")
        found[entry.id] = count
    return found
