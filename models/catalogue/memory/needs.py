"""How much of each device's memory a counted model needs for a default request, under its options of `memory`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from core.device_names import CPU
from models.catalogue.families import FAMILIES, IN_ONE_CALL, TEXT_ENCODERS
from models.catalogue.memory.figures import RESERVE_GIB, Figures
from models.catalogue.memory.options import Memory

HERE = ""
"""The model's own device."""
ALL_HERE: Mapping[str, str] = {}

DIGITS = 6
"""Sums of GiB are rounded to this many digits, so that float error does not keep out what fits exactly."""


@dataclass(frozen=True)
class DefaultRequest:
    """The properties of a request with nothing but a prompt."""

    samples: int
    """In one call of the denoiser."""
    is_video: bool


def default_request(family: str, guidance_scale: float, num_frames: int) -> DefaultRequest:
    spec = FAMILIES.get(family)
    doubled = spec is not None and spec.unguided in IN_ONE_CALL and guidance_scale > spec.guided_above
    return DefaultRequest(2 if doubled else 1, num_frames > 1)


def needed_gib(
    figures: Figures, memory: Memory, request: DefaultRequest, components: Mapping[str, str] = ALL_HERE
) -> dict[str, float]:
    """Return the GiB that each device needs: HERE, and those that `components` are on.

    Clips count as decoded in tiles, as they are if they would not fit whole; images only with `vae_tiling`.
    """
    weights = stored_gib(figures, memory)
    denoising, decoding = request.samples * figures.denoising_gib, figures.decoding_gib
    if memory.vae_tiling or request.is_video:
        decoding = min(decoding, figures.tiled_gib)
    if memory.offload != "none":
        return {HERE: round(_offloaded(figures, memory, weights, denoising, decoding) + RESERVE_GIB, 1)}
    work = {HERE: denoising}
    at_decoder = components.get("vae", HERE)
    work[at_decoder] = max(work.get(at_decoder, 0.0), decoding)
    places = dict.fromkeys([HERE, *components.values()])
    held = {place: sum(gib for name, gib in weights.items() if components.get(name, HERE) == place) for place in places}
    return {place: round(held[place] + work.get(place, 0.0) + RESERVE_GIB, 1) for place in places}


def gib_by_device(devices: Collection[str], memory_gib: float, elsewhere_gib: Mapping[str, float]) -> dict[str, float]:
    """Return the GiB that a replica takes of each device: its own, and those of its components."""
    taken = dict.fromkeys(devices, memory_gib)
    for device, gib in elsewhere_gib.items():
        # A replica on a CPU has all components there.
        there = CPU if {*devices} == {CPU} else device
        taken[there] = taken.get(there, 0.0) + gib
    return taken


def summed(needs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of several replicas' needs for each device."""
    taken: dict[str, float] = {}
    for needed in needs:
        for device, gib in needed.items():
            taken[device] = taken.get(device, 0.0) + gib
    return taken


def _offloaded(
    figures: Figures, memory: Memory, weights: Mapping[str, float], denoising: float, decoding: float
) -> float:
    encoders = [figures.grouped_gib.get(name, 0.0) for name in TEXT_ENCODERS]
    held = held_at_decoding_gib(figures, memory)
    if memory.offload == "model":
        largest = max(gib for name, gib in weights.items() if name != "vae")
        return max(largest + denoising, held + decoding)
    if memory.offload == "sequential":
        # Single layers, of which only those of text encoders are large.
        return max(denoising, decoding, *encoders)
    denoisers = [gib for name, gib in figures.grouped_gib.items() if name not in TEXT_ENCODERS]
    return held + max(max(denoisers) + denoising, decoding, *encoders)


def held_at_decoding_gib(figures: Figures, memory: Memory) -> float:
    """Return the weights of an offloaded model that are on its device while it decodes."""
    if memory.offload == "group":
        return sum(gib for name, gib in figures.weights_gib.items() if name not in figures.grouped_gib)
    # With `sequential`, single layers are on the device only while they compute.
    return figures.weights_gib["vae"] if memory.offload == "model" else 0.0


def stored_gib(figures: Figures, memory: Memory) -> dict[str, float]:
    """Return the GiB of each component's weights as stored; unquantized if the stored form has not been counted."""
    ways: dict[str, str] = dict.fromkeys(memory.storage_dtype, "float8")
    if memory.quantization is not None:
        ways |= dict.fromkeys(memory.quantization.components, f"{memory.quantization.bits}bit")
    return {
        name: figures.stored_gib.get(ways.get(name, ""), {}).get(name, gib) for name, gib in figures.weights_gib.items()
    }
