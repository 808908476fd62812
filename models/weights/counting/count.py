"""Counts what an entry of the catalogue needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch.utils import _pytree as pytree

from models.catalogue.entry import Entry
from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.memory.options import denoisers_of
from models.weights.counting.ip_adapters import ip_adapter_bytes
from models.weights.counting.ltx2 import kept_bytes, sounding
from models.weights.counting.modules import architectures, built, dtype_of, weights_bytes
from models.weights.counting.peak import Need, need_of
from models.weights.counting.stored_weights import cast_bytes, grouped_bytes, quantized_bytes
from models.weights.counting.traced_calls import decoding, denoising, denoising_pass
from models.weights.memory.vae_tiling import tile_latents, tiled

GIB = 2**30
_KNOWN: dict[tuple[str, str, str], Need] = {}


def counted(entry: Entry) -> dict[str, Any]:
    """Return the fields of the entry's `figures` (`models.catalogue.memory.figures`)."""
    built_from = architectures().models[entry.id]
    modules = {name: built(component, dtype_of(entry, name)) for name, component in built_from.items()}
    denoiser, vae = modules[entry.family_spec.denoiser], modules["vae"]
    step = _need(
        built_from[entry.family_spec.denoiser], denoiser, denoising_pass(denoiser), denoising(entry, denoiser, 1)
    )
    decoded = decoding(entry, vae, 1)
    whole = _need(built_from["vae"], vae, vae.decode, decoded)
    sounds = [
        _need(built_from[name], modules[name], call, arguments) for name, call, arguments in sounding(entry, modules)
    ]
    tile = _need(f"{built_from['vae']} of a tile", vae, vae.decode, _of_one_tile(decoded, vae))
    weights = {name: _gib(weights_bytes(module)) for name, module in modules.items()}
    return {
        "weights_gib": weights,
        "denoising_gib": _gib(step.peak_bytes + kept_bytes(modules) + _followed_bytes(entry)),
        "decoding_gib": _gib(max([whole.peak_bytes, *(each.peak_bytes for each in sounds)])),
        "tiled_gib": _gib(_tiled_bytes(tile.peak_bytes, _output_bytes(entry, vae))),
        "decoder_latents": _latent_positions(decoded["z"]),
        "call_tflop": round(step.flop / 1e12, 2),
        **_under_options(entry, modules),
        "controlnets_gib": controlnets_gib(entry),
        "ip_adapters_gib": {source: _gib(count) for source, count in ip_adapter_bytes(entry).items()},
    }


def _followed_bytes(entry: Entry) -> int:
    """Return the bytes of the videos that a clip follows: float32 frames, on the device."""
    animation, defaults = entry.family_spec.animation, entry.defaults
    if animation is None:
        return 0
    return 3 * 4 * defaults.num_frames * (defaults.width * defaults.height + animation.face_px**2)


def controlnets_gib(entry: Entry) -> dict[str, float]:
    """Return the GiB of each of an entry's ControlNets, by repository, in the denoiser's precision."""
    dtype = dtype_of(entry, entry.family_spec.denoiser)
    repos = dict.fromkeys(net.source.repo for net in entry.controlnets.values() if net.source.repo)
    return {repo: _controlnet_gib(architectures().controlnets[repo], dtype) for repo in repos}


@cache
def _controlnet_gib(component: str, dtype: torch.dtype) -> float:
    return _gib(weights_bytes(built(component, dtype)))


def _under_options(entry: Entry, modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the GiB of denoisers and text encoders when quantized, cast or grouped; the modules are modified."""
    own = {each: modules[each] for each in (*denoisers_of(entry.family_spec), *TEXT_ENCODERS) if each in modules}
    in_8_bits = {name: _gib(quantized_bytes(each, 8)) for name, each in own.items()}
    in_4_bits = {name: _gib(quantized_bytes(each, 4)) for name, each in own.items()}
    grouped = {name: _gib(grouped_bytes(name, each)) for name, each in own.items()}
    cast = {name: _gib(cast_bytes(each)) for name, each in own.items()}
    return {"stored_gib": {"float8": cast, "8bit": in_8_bits, "4bit": in_4_bits}, "grouped_gib": grouped}


def _latent_positions(latents: torch.Tensor) -> int:
    """Return the positions of latents (B, C, *spatial) as the engine counts them; layers are decoded together."""
    return latents.shape[0] * latents.shape[2:].numel()


def _of_one_tile(arguments: Mapping[str, Any], vae: Any) -> dict[str, Any]:
    with tiled(vae):
        h, w = tile_latents(vae)
    return {**arguments, "z": arguments["z"][..., :h, :w]}


def _output_bytes(entry: Entry, vae: Any) -> int:
    defaults = entry.defaults
    return 3 * defaults.width * defaults.height * defaults.num_frames * int(vae.dtype.itemsize)


def _tiled_bytes(tile: int, output: int) -> int:
    """While a tile is decoded, earlier ones are kept, with their overlaps; later they are blended, and joined twice.

    An estimate, since tracing all tiles of a clip takes minutes: 1.9 GiB for 832x480, where tracing finds 1.7.
    """
    return max(tile + 2 * output, 4 * output)


def _need(name: str, module: Any, call: Callable[..., Any], arguments: Mapping[str, Any]) -> Need:
    """Return what a call needs, cached, since several entries make the same calls."""
    shapes = [getattr(leaf, "shape", leaf) for leaf in pytree.tree_leaves(dict(arguments))]
    key = (name, str(module.dtype), str(shapes))
    if key not in _KNOWN:
        _KNOWN[key] = need_of(module, call, arguments)
    return _KNOWN[key]


def _gib(count: float) -> float:
    return round(count / GIB, 2)
