"""What makes a model fit into so much memory: the mildest of the options of `memory` by which it does."""

from __future__ import annotations

from typing import Any

from core.errors import StartError
from models.catalogue.entry import Entry
from models.catalogue.memory.figures import RESERVE_GIB, Figures

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"vae_tiling": True},
    {"offload": "model"},
    {"offload": "model", "vae_tiling": True},
    {"offload": "sequential", "vae_tiling": True},
)
"""From the mildest: tiles may change pixels by a few shades; offloaded components cost their way to the device at each
change of component, which is seconds an image, and layers offloaded one by one cost it at each layer of each step.
"""


def fitted(entry: Entry, room_gib: float) -> Entry:
    """Return the entry with the options that make it fit, besides its own; models that are not counted stay.

    Raises StartError when nothing does.
    """
    if entry.figures is None or entry.memory_gib <= room_gib:
        return entry
    # What several processes compute cannot be offloaded.
    possible = [each for each in OPTIONS if entry.parallel is None or "offload" not in each]
    for options in possible:
        needed = needed_with(entry.figures, options)
        if needed <= room_gib:
            # An IP-Adapter cannot share weights that are offloaded.
            adapter = None if "offload" in options else entry.ip_adapter
            memory = entry.memory.model_copy(update=options)
            return entry.model_copy(update={"memory": memory, "memory_gib": needed, "ip_adapter": adapter})
    raise StartError(f"JUBAKO_FIT: {entry.id} needs {needed:g} GiB at least, more than {room_gib:g}")


def needed_with(figures: Figures, options: dict[str, Any]) -> float:
    """Return the GiB of the device that a default request takes under some options of `memory`."""
    parts = figures.weights_gib
    decoding = figures.tiled_gib if options.get("vae_tiling") else figures.decoding_gib
    work = max(2 * figures.denoising_gib, decoding)
    if options.get("offload") == "model":
        denoiser = max(gib for name, gib in parts.items() if name != "vae")
        return round(max(denoiser + 2 * figures.denoising_gib, parts["vae"] + decoding) + RESERVE_GIB, 1)
    if options.get("offload") == "sequential":
        return round(work + RESERVE_GIB, 1)
    return round(figures.all_weights_gib + work + RESERVE_GIB, 1)
