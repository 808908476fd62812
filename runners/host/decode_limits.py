"""How much a model may decode at once, by the memory of its decoder's device."""

from __future__ import annotations

from dataclasses import replace

from core.errors import InvalidRequest
from models.catalogue.entry import Entry
from models.catalogue.memory.bounds import MemoryBounds
from models.catalogue.memory.needs import held_at_decoding_gib
from models.catalogue.memory.parallel import in_a_row
from models.weights.devices import available_devices, device_memory_gib, resolve_device
from models.weights.loading import LoadedModel
from runners.options import EngineLimits

ROUNDED_GIB = 0.1
"""Added, since needs are rounded to this: what one default image needs must suffice for one."""


def within_memory(entry: Entry, model: LoadedModel, limits: EngineLimits, bounds: MemoryBounds) -> EngineLimits:
    """Return the limits with `decode_tokens` set for the decoder's device, if its memory is known."""
    device = model.place_of("vae")
    if entry.figures is None or device == "cpu":
        return limits
    computing = in_a_row(str(model.device), entry.device_count, available_devices())
    needed_gib, full_gib = entry.gib_on(computing)[device], entry.full_gib_on(computing)[device]
    share_gib = bounds.named(_resolved).share_gib(device, device_memory_gib(device), full_gib)
    # Even when ControlNets and an IP-Adapter are loaded later, a default request has what it needs.
    share_gib = max(share_gib - (full_gib - needed_gib), min(share_gib, needed_gib))
    if entry.memory.offload == "none":
        held_gib = model.weights_on(device)
        # One of the model's other processes may be on that device too.
        held_gib += entry.memory_gib if device in computing[1:] else 0.0
    else:
        held_gib = held_at_decoding_gib(entry.figures, entry.memory)
    return replace(limits, decode_tokens=entry.figures.decode_tokens(share_gib + ROUNDED_GIB - held_gib))


def _resolved(device: str) -> str:
    """Return torch's name of a device; a missing device keeps its name, for its own runner to report."""
    try:
        return resolve_device(device)
    except InvalidRequest:
        return device
