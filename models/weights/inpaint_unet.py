"""What diffusers' inpaint pipelines need to accept a denoiser with other than four latent channels."""

from __future__ import annotations

import copy
from typing import Any


def inpaint_unet(unet: Any) -> Any:
    """Return a UNet that an inpaint pipeline accepts, on the same weights.

    The pipeline takes the shape of the latents from the autoencoder, and asks the UNet's configuration only
    whether it was made for inpainting (9 channels) or for text (4); it refuses any other number. So a text
    UNet with eight channels gets a view of itself that reports four.
    """
    if unet.config.in_channels in (4, 9):
        return unet
    view = copy.copy(unet)
    view.register_to_config(in_channels=4)
    return view
