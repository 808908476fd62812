"""Inpainting with the miniature: what diffusers' inpaint pipeline needs to accept its eight latent channels."""

import copy

from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline, UNet2DConditionModel


def inpaint_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A view of the UNet, on the same weights, that reports four input channels.

    StableDiffusionInpaintPipeline takes the shape of the latents from the autoencoder, and asks the UNet's
    configuration only whether it was made for inpainting (9 channels) or for text (4); it refuses any other number.
    """
    view = copy.copy(unet)
    view.register_to_config(in_channels=4)
    return view


def inpaint_pipeline(pipeline: StableDiffusionPipeline) -> StableDiffusionInpaintPipeline:
    """The inpaint pipeline on a text pipeline's weights."""
    parts = pipeline.components | {"unet": inpaint_unet(pipeline.unet)}
    return StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
