"""Loading ControlNets: networks that make an image follow the lines, depth or poses of another."""

from __future__ import annotations

import torch
from diffusers import ControlNetModel

from models.catalogue.addons import ControlNetSpec
from models.weights.build_lock import build_lock
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path


def load_controlnet(spec: ControlNetSpec, device: torch.device, dtype: torch.dtype) -> ControlNetModel:
    """Load a ControlNet, fetching it where needed. Raises LoadFailed with what to do."""
    folder = local_path(spec.source, spec.variant)
    with explained(spec.source), build_lock:
        net = ControlNetModel.from_pretrained(folder, variant=spec.variant, dtype=dtype, use_safetensors=True)
    return net.to(device=device, memory_format=torch.channels_last)
