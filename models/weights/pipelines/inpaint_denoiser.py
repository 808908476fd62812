"""Makes diffusers' inpaint pipelines accept denoisers with configurations that they do not expect."""

from __future__ import annotations

import copy
from typing import Any

KNOWN_CHANNELS = {"UNet2DConditionModel": (4, 9), "SD3Transformer2DModel": (16, 33)}
"""The channels of denoisers for text, and for inpainting, by class; pipelines of other classes do not check."""


def inpaint_denoiser(denoiser: Any) -> Any:
    """Return a denoiser that an inpaint pipeline accepts, on the same weights.

    The pipeline takes the latents' shape from the autoencoder. It uses the denoiser's number of channels only to tell
    inpainting denoisers from those for text, and refuses any other number. So a denoiser for text with another number
    is replaced by a view of itself that reports the expected one.
    """
    if type(denoiser).__name__ == "ChromaTransformer2DModel":
        # Its pipeline was copied from FLUX's, and reads a setting that Chroma no longer has (diffusers 0.42).
        return _reporting(denoiser, guidance_embeds=False)
    known = KNOWN_CHANNELS.get(type(denoiser).__name__)
    if known is None or denoiser.config.in_channels in known:
        return denoiser
    return _reporting(denoiser, in_channels=known[0])


def _reporting(denoiser: Any, **config: Any) -> Any:
    view = copy.copy(denoiser)
    view.register_to_config(**config)
    return view
