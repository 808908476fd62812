"""Samplers and schedules by the web UI's names: it has two fields, we have one."""

from __future__ import annotations

from core.errors import InvalidRequest
from core.generation.hints import ignored_hint
from core.generation.infotext import AUTOMATIC, SCHEDULES
from models.catalogue.families.schedulers import Samplers

AUTOMATIC_SCHEDULES = {
    "dpm2": "karras",
    "dpm2_a": "karras",
    "dpmpp_2m": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_3m_sde": "exponential",
    "dpmpp_sde": "karras",
}
"""What the web UI uses for these samplers by default (`modules/sd_samplers_kdiffusion.py`)."""
OWN = frozenset({"uniform", "normal", "simple"})
"""Schedules as even as the model's own, which takes their place."""


def sampler_of(
    samplers: Samplers, name: str | None, schedule: str | None, usual: str
) -> tuple[str | None, tuple[str, ...]]:
    """Return the sampler that is meant, or None for the model's own, which is `usual`; and hints.

    Raises InvalidRequest for a sampler or schedule that the model does not have.
    """
    wanted = _schedule(schedule)
    if name is None and (wanted is None or wanted in OWN):
        return None, ()
    sampler = samplers.find(name or usual)
    if sampler is None:
        raise InvalidRequest("sampler_name", samplers.mistake(str(name)))
    if wanted is None:
        return _automatic(samplers, sampler), ()
    base = next(base for base in samplers.bases if sampler in (base, *_spread(samplers, base)))
    if wanted in OWN:
        return base, (ignored_hint("scheduler", f"{base} spaces its steps as the model says"),)
    taken = samplers.bases[base].schedules
    if wanted not in taken:
        raise InvalidRequest(
            "scheduler", f"{base} does not take {wanted}; it takes: {', '.join(['automatic', *taken])}"
        )
    return f"{base}_{wanted}", ()


def _schedule(name: str | None) -> str | None:
    """Return the id of a schedule; None for the automatic one. Raises InvalidRequest."""
    wanted = (name or AUTOMATIC).strip().lower().replace(" ", "_")
    if wanted == AUTOMATIC.lower():
        return None
    # An alias of A1111's.
    wanted = {"sgmuniform": "sgm_uniform"}.get(wanted, wanted)
    if wanted not in SCHEDULES and wanted not in OWN:
        raise InvalidRequest(
            "scheduler", f"{name!r} is unknown; known: automatic, {', '.join([*SCHEDULES, *sorted(OWN)])}"
        )
    return wanted


def _automatic(samplers: Samplers, sampler: str) -> str:
    """Return a sampler with the web UI's default schedule, unless its name has one, as older clients write it."""
    usual = AUTOMATIC_SCHEDULES.get(sampler)
    return f"{sampler}_{usual}" if sampler in samplers.bases and usual in samplers.bases[sampler].schedules else sampler


def _spread(samplers: Samplers, base: str) -> list[str]:
    return [f"{base}_{schedule}" for schedule in samplers.bases[base].schedules]
