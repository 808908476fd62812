"""What diffusers' inpaint pipelines need to accept a denoiser that is configured otherwise than they know."""

from __future__ import annotations

import copy
from typing import Any

KNOWN_CHANNELS = {"UNet2DConditionModel": (4, 9), "SD3Transformer2DModel": (16, 33)}
"""Of denoisers that were made for text, and for inpainting, by their class; pipelines of others do not ask."""


def inpaint_denoiser(denoiser: Any) -> Any:
    """Return a denoiser that an inpaint pipeline accepts, on the same weights.

    The pipeline takes the shape of the latents from the autoencoder, and asks the denoiser's configuration only
    whether it was made for inpainting or for text, by its number of channels; it refuses any other. So one that was
    made for text with another number gets a view of itself that reports the known one.
    """
    if type(denoiser).__name__ == "ChromaTransformer2DModel":
        # Its pipeline was made from FLUX's, and asks for what Chroma was pruned of (diffusers 0.42).
        return _reporting(denoiser, guidance_embeds=False)
    known = KNOWN_CHANNELS.get(type(denoiser).__name__)
    if known is None or denoiser.config.in_channels in known:
        return denoiser
    return _reporting(denoiser, in_channels=known[0])


def _reporting(denoiser: Any, **config: Any) -> Any:
    view = copy.copy(denoiser)
    view.register_to_config(**config)
    return view
