"""Finds the options of `memory` that make a model fit into a given amount at the least cost in speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from core.device_names import CPU
from core.errors import StartError
from models.catalogue.entry import Entry
from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.memory.needs import HERE, needed_gib
from models.catalogue.memory.options import (
    Memory,
    clashing_with_controlnets,
    clashing_with_ip_adapters,
    denoisers_of,
    memory_mistakes,
)

FLOAT8 = "float8_e4m3fn"


class Choice(NamedTuple):
    """Options of `memory` that are added to an entry's own."""

    offload: str = "none"
    encoders_in_8_bits: bool = False
    denoisers_in_8_bits: bool = False


CHOICES = (
    Choice(),
    Choice(encoders_in_8_bits=True),
    Choice(encoders_in_8_bits=True, denoisers_in_8_bits=True),
    Choice("model"),
    Choice("model", encoders_in_8_bits=True, denoisers_in_8_bits=True),
    Choice("group"),
    Choice("sequential"),
)
"""In order of cost; each is tried first without tiles, which may change pixels by a few shades, and then with them.

In 8 bits, each layer is cast on the device whenever it is called: once per prompt in text encoders, at each step in
denoisers. With `model`, whole components come over the bus when called, which takes seconds per image. With `group`,
all of the denoiser's weights come at each step; with `sequential` too, and the device waits for each layer.
"""


def fitted(entry: Entry, room_gib: float) -> Entry:
    """Return the entry with the options that make it fit added to its own; uncounted models are left unchanged.

    Raises StartError if no options make it fit.
    """
    if entry.figures is None:
        return entry
    least = max((_needed(entry, entry.memory) | {HERE: entry.memory_gib}).values())
    if least <= room_gib:
        return entry
    for memory in _possible(entry):
        needed = _needed(entry, memory)
        least = min(least, max(needed.values()))
        if max(needed.values()) <= room_gib:
            own = {"memory": memory, "memory_gib": needed[HERE]}
            return entry.model_copy(update={**own, **_lost(entry, memory)})
    raise StartError(f"JUBAKO_FIT: {entry.id} needs {least:g} GiB at least, more than {room_gib:g}")


def _lost(entry: Entry, memory: Memory) -> dict[str, Any]:
    """Return the entry's fields for the addons that these options rule out, emptied."""
    family = entry.family_spec
    lost: dict[str, Any] = {}
    if entry.ip_adapter and not entry.ip_adapter.is_redux and clashing_with_ip_adapters(memory, family):
        lost["ip_adapter"] = None
    if clashing_with_controlnets(memory, family):
        lost["controlnets"] = {}
    return lost


def _needed(entry: Entry, memory: Memory) -> dict[str, float]:
    """Return the GiB on each device whose memory is short.

    The components' devices may also get one of the processes of a model over several devices, unless its `devices`
    exclude them: that is not known before it is placed.
    """
    assert entry.figures is not None
    needed = needed_gib(entry.figures, memory, entry.default_request, entry.components)
    own_gib = 0.0 if entry.parallel is None else needed[HERE]
    shared = {place for place in needed if place != HERE and (not entry.devices or place in entry.devices)}
    return {place: gib + own_gib * (place in shared) for place, gib in needed.items() if place != CPU}


def _possible(entry: Entry) -> Iterator[Memory]:
    """Yield the possible options: all choices that keep what the entry asks for and do not clash with it."""
    for choice in CHOICES:
        memory = entry.memory.model_copy(update=_added(entry, choice))
        keeps_own = entry.memory.offload in ("none", memory.offload)
        # Models over several devices, or with components on others, cannot be offloaded; split weights cannot be cast.
        spread = entry.parallel is not None or bool(entry.components)
        whole = not spread or memory.offload == "none"
        uncast = entry.parallel is None or not {*memory.storage_dtype} & {*denoisers_of(entry.family_spec)}
        if keeps_own and whole and uncast and not any(memory_mistakes(memory, entry.family_spec)):
            yield memory
            yield memory.model_copy(update={"vae_tiling": True})


def _added(entry: Entry, choice: Choice) -> dict[str, Any]:
    """Return the options that a choice changes; components that the entry already stores in fewer bits stay so."""
    assert entry.figures is not None
    names = [name for name in denoisers_of(entry.family_spec) if choice.denoisers_in_8_bits]
    names += [name for name in TEXT_ENCODERS if choice.encoders_in_8_bits]
    quantized = entry.memory.quantization.components if entry.memory.quantization else ()
    cast = {name: FLOAT8 for name in names if name in entry.figures.weights_gib and name not in quantized}
    offload = entry.memory.offload if choice.offload == "none" else choice.offload
    return {"offload": offload, "storage_dtype": {**cast, **entry.memory.storage_dtype}}
