"""What makes a model fit into so much memory: of the options of `memory`, those that cost it the least speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

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
from settings.sections.devices import CPU

FLOAT8 = "float8_e4m3fn"


class Choice(NamedTuple):
    """Options of `memory`, beside an entry's own."""

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
"""From what costs the least, each first without tiles, which may change pixels by a few shades, and then with them.

In 8 bits, each layer is cast on the device whenever it is called: once a prompt in text encoders, at each step in
denoisers. Whole components come over the bus when the next of them is called: seconds an image. Blocks come at each
step, all weights of the denoiser; single layers likewise, and the device waits for each of them.
"""


def fitted(entry: Entry, room_gib: float) -> Entry:
    """Return the entry with the options that make it fit, beside its own; models that are not counted stay.

    Raises StartError when nothing does.
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
    """Return what an entry cannot have any longer under these options, without it."""
    family = entry.family_spec
    lost: dict[str, Any] = {}
    if entry.ip_adapter and not entry.ip_adapter.is_redux and clashing_with_ip_adapters(memory, family):
        lost["ip_adapter"] = None
    if clashing_with_controlnets(memory, family):
        lost["controlnets"] = {}
    return lost


def _needed(entry: Entry, memory: Memory) -> dict[str, float]:
    """Return the GiB on each device whose memory is short.

    Of a model over several devices, one of its processes may be where components are, unless its `devices` are others:
    nobody knows before it is placed.
    """
    assert entry.figures is not None
    needed = needed_gib(entry.figures, memory, entry.default_request, entry.components)
    own_gib = 0.0 if entry.parallel is None else needed[HERE]
    shared = {place for place in needed if place != HERE and (not entry.devices or place in entry.devices)}
    return {place: gib + own_gib * (place in shared) for place, gib in needed.items() if place != CPU}


def _possible(entry: Entry) -> Iterator[Memory]:
    """Yield what an entry's own options may become: it keeps what it asks for, without what clashes with that."""
    for choice in CHOICES:
        memory = entry.memory.model_copy(update=_added(entry, choice))
        keeps_own = entry.memory.offload in ("none", memory.offload)
        # What several devices compute, or other ones hold, cannot be offloaded, nor split weights be cast.
        spread = entry.parallel is not None or bool(entry.components)
        whole = not spread or memory.offload == "none"
        uncast = entry.parallel is None or not {*memory.storage_dtype} & {*denoisers_of(entry.family_spec)}
        if keeps_own and whole and uncast and not any(memory_mistakes(memory, entry.family_spec)):
            yield memory
            yield memory.model_copy(update={"vae_tiling": True})


def _added(entry: Entry, choice: Choice) -> dict[str, Any]:
    """Return the options that a choice changes; what an entry stores in fewer bits already stays so."""
    assert entry.figures is not None
    names = [name for name in denoisers_of(entry.family_spec) if choice.denoisers_in_8_bits]
    names += [name for name in TEXT_ENCODERS if choice.encoders_in_8_bits]
    quantized = entry.memory.quantization.components if entry.memory.quantization else ()
    cast = {name: FLOAT8 for name in names if name in entry.figures.weights_gib and name not in quantized}
    offload = entry.memory.offload if choice.offload == "none" else choice.offload
    return {"offload": offload, "storage_dtype": {**cast, **entry.memory.storage_dtype}}
