"""Loading IP-Adapters: attention to a reference image in addition to the prompt (Ye et al., 2023,
arXiv:2308.06721).

An adapter changes the denoiser that it is loaded into, so that every call needs a reference. It therefore gets a
denoiser of its own over the same weights, and requests without a reference stay as fast and exact as before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from torch import nn
from transformers import CLIPVisionModelWithProjection

from models.catalogue.addons import IpAdapterSpec
from models.weights.build_lock import build_lock
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path

SCALE = "ip_adapter_scale"
"""The argument (B, 1, 1, 1) of an adapted denoiser: how strongly the reference acts on each sample."""
ATTENTION = "joint_attention_kwargs"
"""The argument of FLUX's with the encoded reference."""
IpAdapter = Mapping[str, Any]
"""By name, the components that replace a pipeline's own so that it follows a reference."""


def load_ip_adapter(
    spec: IpAdapterSpec, pipeline: DiffusionPipeline, name: str, denoiser: Any, device: torch.device
) -> IpAdapter:
    """Load an adapter into `denoiser`, a `twin` of the pipeline's component of this name, fetching it if needed.

    Raises LoadFailed with what to do.
    """
    assert spec.image_encoder is not None, "Redux adapts no denoiser"
    file, folder = local_path(spec.source), local_path(spec.image_encoder)
    with explained(spec.image_encoder), build_lock:
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=denoiser.dtype, use_safetensors=True)
    # The loader replaces components of the pipeline that it is called on, so it is called on a copy.
    adapted: Any = copy.copy(pipeline)
    adapted.__dict__ |= {name: denoiser, "image_encoder": encoder.to(device)}
    with explained(spec.source), build_lock:
        adapted.load_ip_adapter(file.parent, subfolder="", weight_name=file.name)
    known = (IPAdapterAttnProcessor2_0, FluxIPAdapterAttnProcessor)
    processors = [each for each in denoiser.attn_processors.values() if isinstance(each, known)]
    denoiser.register_forward_pre_hook(partial(_take_scales, processors), with_kwargs=True)
    return {
        name: denoiser,
        "image_encoder": adapted.image_encoder,
        "feature_extractor": adapted.feature_extractor,
    }


def twin(denoiser: nn.Module) -> nn.Module:
    """Return a copy that shares all parameters and buffers, but whose layers can be replaced independently."""
    return copy.deepcopy(denoiser, {id(tensor): tensor for tensor in chain(denoiser.parameters(), denoiser.buffers())})


class _SampleScales:
    """Replaces the single number in an attention processor of diffusers, and scales each sample by its own."""

    def __init__(self, scales: torch.Tensor) -> None:
        self._scales = scales  # (B, 1, 1)

    def __mul__(self, attended: torch.Tensor) -> torch.Tensor:
        return self._scales * attended


def _take_scales(
    processors: Sequence[Any], _denoiser: Any, args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    scales = _SampleScales(kwargs.pop(SCALE)[..., 0])
    for processor in processors:
        processor.scale = [scales]
    if ATTENTION in kwargs:
        # FLUX's denoiser removes the reference from this dictionary, which is the pipeline's; a call may be retried.
        kwargs[ATTENTION] = dict(kwargs[ATTENTION])
    return args, kwargs
