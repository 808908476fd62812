"""Z-Image: a single-stream transformer that takes latents and texts as lists, one entry per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.generation.request import Task
from models.catalogue.families.base import (
    CallStage,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    Unguided,
)
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.samplers import FLOW

TRANSFORMER = Part(
    "transformer",
    CallStage.DENOISE,
    # It could also pad pictures of different sizes, but small ones would then cost as much as the pass's largest.
    listed=frozenset({"x"}),
    ragged=frozenset({"cap_feats"}),
    padded=frozenset({"controlnet_block_samples"}),
    # Text-to-image asks for a tuple, image-to-image for an output object, which can be indexed like one.
    fixed={"return_dict": False},
    # It looks at 2x2 latents at a time.
    pixels_per_token=4,
)

SEQUENCE_MULTIPLE = 32
"""The model pads the tokens of images, and those of prompts, to multiples of this."""


def _unpadded(hints: Mapping[int, Any], arguments: Mapping[str, Any]) -> dict[int, Any]:
    """Cut the hints for some layers, (B, length, width) each, to the longest prompt of a call's own samples."""
    image = arguments["x"][0].shape[1:].numel() // TRANSFORMER.pixels_per_token
    length = _filled(image) + max(_filled(len(text)) for text in arguments["cap_feats"])
    return {layer: hint[:, :length] for layer, hint in hints.items()}


def _filled(tokens: int) -> int:
    return -(-tokens // SEQUENCE_MULTIPLE) * SEQUENCE_MULTIPLE


CONTROLNET = Part(
    "controlnet",
    CallStage.CONTROL,
    listed=frozenset({"x"}),
    ragged=frozenset({"cap_feats"}),
    numbers=frozenset({"conditioning_scale"}),
    number_axes=3,
    # The denoiser's pass may contain prompts of other lengths.
    unpadded=_unpadded,
    pixels_per_token=TRANSFORMER.pixels_per_token,
)


Z_IMAGE = Family(
    name="z-image",
    pipelines={
        Task.TEXT_TO_IMAGE: "ZImagePipeline",
        Task.IMAGE_TO_IMAGE: "ZImageImg2ImgPipeline",
        Task.INPAINT: "ZImageInpaintPipeline",
    },
    bases=("Tongyi-MAI/Z-Image-Turbo",),
    parts=(
        # Pipelines read hidden states only; a cache for generation would be kept with them.
        Part("text_encoder", CallStage.ENCODE, memoised=True, fixed={"use_cache": False}),
        *VAE,
        CONTROLNET,
        TRANSFORMER,
    ),
    controlled={Task.TEXT_TO_IMAGE: "ZImageControlNetPipeline"},
    controlnet="ZImageControlNetModel",
    controlnet_shares=True,
    schedulers=FLOW,
    size_multiple_px=16,
    guided_above=0.0,
    # 512, less the three that open the chat template.
    prompt_windows=(PromptWindow(tokens=509),),
    text_tokens=TextTokens(512, 1024),
    masks=True,
    unguided=Unguided.SECOND_HALF,
)
