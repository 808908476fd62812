"""FLUX.1: dev, schnell, Fill and Kontext."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

from PIL import Image

from core.generation.request import GenerationRequest, Task
from core.pixels.upload import pixels_of
from models.catalogue.families.base import (
    CallStage,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    packed_latents,
    standard_arguments,
)
from models.catalogue.families.images.stable_diffusion import IMAGE_ENCODER, VAE
from models.catalogue.families.samplers import FLOW

SIZE_MULTIPLE_PX = 16
SCHNELL_TEXT_TOKENS = 256
"""The most that schnell takes; dev takes 512 (diffusers, docs/source/en/api/pipelines/flux.md)."""


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """Guidance is distilled into the model: a negative prompt would have no effect."""
    arguments = standard_arguments(request)
    del arguments["negative_prompt"]
    return arguments


def _schnell_arguments(request: GenerationRequest) -> dict[str, Any]:
    return {**_arguments(request), "max_sequence_length": SCHNELL_TEXT_TOKENS}


def _kontext_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Generate at the request's size, and show the model its image at the same number of pixels.

    Left alone, the pipeline generates about a megapixel in the proportions of `width` and `height`, and always
    squeezes the image into one of 17 sizes of a megapixel, so that small pictures would cost as much as large ones.
    """
    arguments = {**_arguments(request), "max_area": request.width * request.height, "_auto_resize": False}
    if request.task is Task.EDIT:
        arguments["image"] = _scaled(pixels_of(request.images[0]), request.width * request.height)
    return arguments


def _scaled(image: Image.Image, area_px: int) -> Image.Image:
    """Scale an image to about `area_px` pixels, keeping its proportions up to rounding."""
    scale = sqrt(area_px / (image.width * image.height))
    width, height = (
        max(SIZE_MULTIPLE_PX, int(side * scale) // SIZE_MULTIPLE_PX * SIZE_MULTIPLE_PX) for side in image.size
    )
    return image.resize((width, height), Image.Resampling.LANCZOS)


DEV_TEXT_TOKENS = 512
# Positions have no batch axis: those of 512x1024 and 1024x512 have one shape and different contents.
POSITIONS = frozenset({"img_ids", "txt_ids"})
REDUX = Part("image_embedder", CallStage.ENCODE, memoised=True)
CONTROLNET = Part(
    "controlnet",
    CallStage.CONTROL,
    shared=POSITIONS,
    ignored=frozenset({"joint_attention_kwargs"}),
    numbers=frozenset({"conditioning_scale"}),
    number_axes=3,
)


def _windows(tokens: int) -> tuple[PromptWindow, ...]:
    """Return T5's window, which is larger than CLIP's; the last of its tokens ends the text."""
    return PromptWindow(), PromptWindow("tokenizer_2", tokens - 1)


FLUX = Family(
    name="flux",
    pipelines={
        Task.TEXT_TO_IMAGE: "FluxPipeline",
        Task.IMAGE_TO_IMAGE: "FluxImg2ImgPipeline",
        Task.INPAINT: "FluxInpaintPipeline",
    },
    bases=("black-forest-labs/FLUX.1-dev", "black-forest-labs/FLUX.1-schnell"),
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        IMAGE_ENCODER,
        REDUX,
        *VAE,
        CONTROLNET,
        Part("transformer", CallStage.DENOISE, shared=POSITIONS, numbers=frozenset({"ip_adapter_scale"})),
    ),
    controlled={
        Task.TEXT_TO_IMAGE: "FluxControlNetPipeline",
        Task.IMAGE_TO_IMAGE: "FluxControlNetImg2ImgPipeline",
        Task.INPAINT: "FluxControlNetInpaintPipeline",
    },
    controlnet="FluxControlNetModel",
    control_modes=True,
    ip_adapter=True,
    redux=True,
    control_alone=frozenset({Task.IMAGE_TO_IMAGE, Task.INPAINT}),
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_arguments,
    preview_latents=packed_latents(vae_factor=8),
    negative_prompt=False,
    prompt_windows=_windows(DEV_TEXT_TOKENS),
    text_tokens=TextTokens(DEV_TEXT_TOKENS, DEV_TEXT_TOKENS),
)

FLUX_SCHNELL = replace(
    FLUX,
    name="flux-schnell",
    bases=("black-forest-labs/FLUX.1-schnell",),
    arguments=_schnell_arguments,
    prompt_windows=_windows(SCHNELL_TEXT_TOKENS),
    text_tokens=TextTokens(SCHNELL_TEXT_TOKENS, SCHNELL_TEXT_TOKENS),
)

FLUX_FILL = replace(
    FLUX,
    name="flux-fill",
    pipelines={Task.INPAINT: "FluxFillPipeline"},
    controlled={},
    ip_adapter=False,
    bases=("black-forest-labs/FLUX.1-Fill-dev",),
)

FLUX_KONTEXT = replace(
    FLUX,
    name="flux-kontext",
    pipelines={Task.EDIT: "FluxKontextPipeline", Task.INPAINT: "FluxKontextInpaintPipeline"},
    controlled={},
    redux=False,
    bases=("black-forest-labs/FLUX.1-Kontext-dev",),
    arguments=_kontext_arguments,
)
