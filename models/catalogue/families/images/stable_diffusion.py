"""Stable Diffusion 1.x and 2.x, XL, and 3.x."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import (
    CallStage,
    ClipEncoder,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    Unguided,
    standard_arguments,
)
from models.catalogue.families.samplers import DIFFUSION, FLOW

VAE = (
    Part("vae", CallStage.ENCODE, "encode", casts=True, pixels_per_token=64),
    Part("vae", CallStage.DECODE, "decode", casts=True, ignored=frozenset({"generator"})),
)
UNET = Part("unet", CallStage.DENOISE, numbers=frozenset({"ip_adapter_scale"}))
# Residuals are the ControlNet's outputs times the scale, so that calls of all scales can share.
CONTROLNET = Part("controlnet", CallStage.CONTROL, numbers=frozenset({"conditioning_scale"}))
# The vision models of published IP-Adapters see patches of 14 x 14 pixels.
IMAGE_ENCODER = Part("image_encoder", CallStage.ENCODE, memoised=True, pixels_per_token=14 * 14)


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """Image-to-image pipelines of these families use the image's size, and accept no size argument."""
    arguments = standard_arguments(request)
    if request.task is Task.IMAGE_TO_IMAGE:
        del arguments["width"], arguments["height"]
    if request.control_image is not None and request.task is Task.TEXT_TO_IMAGE:
        # The pipeline calls the control image `image`, since it has no other.
        arguments["image"] = arguments.pop("control_image")
    return arguments


STABLE_DIFFUSION = Family(
    name="stable-diffusion",
    pipelines={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
    },
    bases=(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "stabilityai/stable-diffusion-2-1",
        "stabilityai/stable-diffusion-2-inpainting",
    ),
    controlled={
        Task.TEXT_TO_IMAGE: "StableDiffusionControlNetPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionControlNetImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionControlNetInpaintPipeline",
    },
    ip_adapter=True,
    parts=(Part("text_encoder", CallStage.ENCODE, memoised=True), IMAGE_ENCODER, *VAE, CONTROLNET, UNET),
    clip_encoders=(ClipEncoder("tokenizer", "text_encoder", normed=True),),
    schedulers=DIFFUSION,
    size_multiple_px=8,
    denoiser="unet",
    chooses_attention=False,
    arguments=_arguments,
    unguided=Unguided.FIRST_HALF,
)

STABLE_DIFFUSION_XL = Family(
    name="stable-diffusion-xl",
    pipelines={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLInpaintPipeline",
    },
    bases=(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "playgroundai/playground-v2.5-1024px-aesthetic",
    ),
    controlled={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLControlNetPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLControlNetImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLControlNetInpaintPipeline",
    },
    ip_adapter=True,
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        IMAGE_ENCODER,
        *VAE,
        CONTROLNET,
        UNET,
    ),
    clip_encoders=(
        ClipEncoder("tokenizer", "text_encoder", normed=False),
        ClipEncoder("tokenizer_2", "text_encoder_2", normed=False),
    ),
    schedulers=DIFFUSION,
    size_multiple_px=8,
    denoiser="unet",
    chooses_attention=False,
    arguments=_arguments,
    unguided=Unguided.FIRST_HALF,
)


T5_TOKENS = 255
"""Tokens of T5's text: 256 less the one that ends it."""

STABLE_DIFFUSION_3 = Family(
    name="stable-diffusion-3",
    pipelines={
        Task.TEXT_TO_IMAGE: "StableDiffusion3Pipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusion3Img2ImgPipeline",
        Task.INPAINT: "StableDiffusion3InpaintPipeline",
    },
    bases=(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "stabilityai/stable-diffusion-3.5-medium",
        "stabilityai/stable-diffusion-3.5-large",
    ),
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        Part("text_encoder_3", CallStage.ENCODE, memoised=True),
        *VAE,
        replace(CONTROLNET, number_axes=3),
        Part("transformer", CallStage.DENOISE),
    ),
    # StableDiffusion3ControlNetInpaintingPipeline takes no control image but the one to be inpainted.
    controlled={Task.TEXT_TO_IMAGE: "StableDiffusion3ControlNetPipeline"},
    controlnet="SD3ControlNetModel",
    controlnet_copies=True,
    schedulers=FLOW,
    size_multiple_px=16,
    prompt_windows=(PromptWindow(), PromptWindow("tokenizer_3", T5_TOKENS)),
    text_tokens=TextTokens(T5_TOKENS + 1, 512),
    chooses_attention=False,
    unguided=Unguided.FIRST_HALF,
)
