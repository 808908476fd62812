"""Appends a reference image to the prompt, as diffusers' FluxPriorReduxPipeline does.

Called inside the greenlet of a pipeline: encoders are stand-ins, so equal prompts and references are encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import FluxPriorReduxPipeline

from core.generation.request import GenerationRequest

_TEXTS = ("prompt", "prompt_2", "max_sequence_length")


def with_redux(pipeline: Any, request: GenerationRequest, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments, with encodings in place of prompt and reference, for a pipeline with Redux loaded.

    The scale multiplies only the reference's tokens; diffusers' own would fade the prompt too.
    """
    if request.reference_image is None or not hasattr(pipeline, "image_embedder"):
        return dict(arguments)
    given = {name: value for name, value in arguments.items() if name not in (*_TEXTS, "ip_adapter_image")}
    texts = {name: arguments[name] for name in _TEXTS if name in arguments}
    states, pooled, _ = pipeline.encode_prompt(**{"prompt_2": None, **texts})  # (1, length, width), (1, width)
    device = pipeline._execution_device
    seen = FluxPriorReduxPipeline.encode_image(pipeline, arguments["ip_adapter_image"], device, 1)
    reference = request.reference_scale * pipeline.image_embedder(seen).image_embeds  # (1, patches, width)
    return {**given, "prompt_embeds": torch.cat([states, reference], dim=1), "pooled_prompt_embeds": pooled}
