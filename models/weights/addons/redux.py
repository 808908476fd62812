"""Loading FLUX.1 Redux: a reference image becomes tokens of the prompt, so the denoiser stays unchanged."""

from __future__ import annotations

import torch
from diffusers import FluxPriorReduxPipeline

from models.catalogue.addons import IpAdapterSpec
from models.weights.addons.ip_adapters import IpAdapter
from models.weights.build_lock import build_lock
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import pipeline_path, refuse_incomplete

COMPONENTS = ("image_encoder", "feature_extractor", "image_embedder")


def load_redux(spec: IpAdapterSpec, device: torch.device, dtype: torch.dtype) -> IpAdapter:
    """Load the encoder of references, fetching it if needed. Raises LoadFailed with what to do."""
    folder = pipeline_path(spec.source, FluxPriorReduxPipeline)
    refuse_incomplete(folder, spec.source)
    with explained(spec.source), build_lock:
        prior = FluxPriorReduxPipeline.from_pretrained(str(folder), dtype=dtype, use_safetensors=True).to(device)
    return {name: getattr(prior, name) for name in COMPONENTS}
