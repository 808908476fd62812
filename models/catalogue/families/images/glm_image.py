"""GLM-Image: a language model writes an image as tokens, from which a diffusion transformer generates it."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from PIL import Image

from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Size
from core.pixels.upload import pixels_of
from models.catalogue.families.base import CallStage, Family, Part, TextTokens, Unguided, standard_arguments
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.samplers import FLOW

PIPELINE = "GlmImagePipeline"
TEXT_TOKENS = 2048
"""For quoted words, which are to be rendered in the image; the language model reads the whole prompt."""
SIZE_MULTIPLE_PX = 32
SEEN_SIDE_PX = (512, 2048)
"""Limits of an edited image. The language model would resize any other (transformers, smart_resize) and the denoiser
would not, so their numbers of tokens would differ.
"""
SEEN_GIB = 1.9
"""GiB of the keys and values of a 1024x1024 image, in all layers of the denoiser, in half precision."""
LATENTS_PER_TOKEN = 4
HELPERS = "models.weights.pipelines.glm_image"


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """The pipeline takes no negative prompt: guidance leads away from an empty one."""
    arguments = standard_arguments(request)
    del arguments["negative_prompt"]
    if request.task is Task.EDIT:
        most_pixels = request.width * request.height
        arguments["image"] = [_acceptable(pixels_of(image).convert("RGB"), most_pixels) for image in request.images]
    return arguments


def _acceptable(image: Image.Image, most_pixels: int) -> Image.Image:
    """Scale an image that has more pixels than the result, or too few, and widen one narrower than 1:4."""
    size = _acceptable_size(image.size, most_pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _acceptable_size(size: Size, most_pixels: int) -> Size:
    least, most = SEEN_SIDE_PX
    scale = max(min(1.0, sqrt(most_pixels / (size[0] * size[1]))), least / min(size))
    width, height = (min(max(round(side * scale / SIZE_MULTIPLE_PX) * SIZE_MULTIPLE_PX, least), most) for side in size)
    return width, height


def _kept_gib(request: GenerationRequest) -> float:
    """Return the GiB of the keys and values of the images that a request edits."""
    sizes = [_acceptable_size(image.size, request.width * request.height) for image in request.images]
    return SEEN_GIB * sum(width * height for width, height in sizes) / 2**20


def _sample_tokens(_denoiser: Any, arguments: Mapping[str, Any]) -> int:
    """Return the tokens of one image, (B, C, h, w), and of those that it is an edit of."""
    own: int = arguments["hidden_states"].shape[-2:].numel() // LATENTS_PER_TOKEN
    kept = arguments.get("kv_caches")
    return own if kept is None else own + int(kept[0][0][0].shape[1])


GLM_IMAGE = Family(
    name="glm-image",
    pipelines={Task.TEXT_TO_IMAGE: PIPELINE, Task.EDIT: PIPELINE},
    bases=("zai-org/GLM-Image",),
    parts=(
        # One image after the other, each with its own seed: over a thousand tokens of one megapixel.
        Part("vision_language_encoder", CallStage.ENCODE, "generate", apart=True, seeded=True),
        Part("vision_language_encoder", CallStage.ENCODE, "get_image_features", apart=True),
        Part("vision_language_encoder", CallStage.ENCODE, "get_image_tokens", apart=True),
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        *VAE,
        # Quoted words are not masked, so only requests with equal lengths of them share, as all without quotes do; and
        # only edits of images with equal numbers of tokens.
        Part("transformer", CallStage.DENOISE, listed=frozenset({"kv_caches"}), sample_tokens=_sample_tokens),
        # If calls were joined, each request's share would be a view that keeps all of the others' in memory.
        Part("transformer", CallStage.ENCODE, "seen", apart=True, pixels_per_token=LATENTS_PER_TOKEN),
    ),
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_arguments,
    # The pipeline has no limit, but keeps all keys and values of each.
    max_images=3,
    kept_gib=_kept_gib,
    prepare=f"{HELPERS}:let_edit",
    translated={"transformer": f"{HELPERS}:without_caches"},
    negative_prompt=False,
    prompt_windows=(),
    text_tokens=TextTokens(TEXT_TOKENS, TEXT_TOKENS),
    unguided=Unguided.SECOND_CALL,
)
