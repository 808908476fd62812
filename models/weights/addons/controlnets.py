"""Loading ControlNets: networks that make an image follow the lines, depth or poses of another."""

from __future__ import annotations

import torch
from diffusers import ModelMixin

from core.errors import LoadFailed
from models.catalogue.addons import ControlNetSpec
from models.weights.build_lock import build_lock
from models.weights.fetching.explanations import explained, explained_fetch
from models.weights.fetching.fetch import local_path


def load_controlnet(
    net_class: type[ModelMixin], spec: ControlNetSpec, device: torch.device, dtype: torch.dtype
) -> ModelMixin:
    """Load a ControlNet of a diffusers class, fetching it where needed. Raises LoadFailed with what to do."""
    path = local_path(spec.source, spec.variant)
    if path.is_file():
        # For a single file, diffusers would fetch the configuration from the hub.
        with explained_fetch(spec.source), build_lock:
            net = net_class.from_single_file(str(path), dtype=dtype)
    else:
        with explained(spec.source), build_lock:
            net = net_class.from_pretrained(path, variant=spec.variant, dtype=dtype, use_safetensors=True)
    return net.to(device=device, memory_format=torch.channels_last)


def check_mode(net: ModelMixin, kind: str, spec: ControlNetSpec) -> None:
    """Raise LoadFailed if a union ControlNet's entry gives no valid `mode`, or another ControlNet's gives one."""
    modes = net.config.get("num_mode")
    field = f"controlnets.{kind}.mode"
    if modes is None and spec.mode is not None:
        raise LoadFailed(f"{spec.source} has no modes; leave {field} out")
    if modes is not None and (spec.mode is None or spec.mode >= modes):
        given = "is missing" if spec.mode is None else f"is {spec.mode}"
        raise LoadFailed(
            f"{field} {given}; {spec.source} has the modes 0 to {modes - 1}, which its model card explains"
        )
