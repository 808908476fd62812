"""Qwen-Image, its editing models of one picture (Edit) and several (Edit-2509, Edit-2511), and its layers (Layered)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
    Unguided,
    packed_latents,
    standard_arguments,
)
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.samplers import FLOW

TEXT_ENCODER = Part(
    "text_encoder",
    CallStage.ENCODE,
    memoised=True,
    # Pipelines read only the hidden states, so neither a cache for generation nor logits are needed.
    # The patches of pictures are one long list with a grid for each picture, so they join end to end like samples.
    fixed={"use_cache": False, "logits_to_keep": 1},
)
TRANSFORMER = Part(
    "transformer",
    CallStage.DENOISE,
    # Positions are taken from the first sample's shapes; as a listed argument they are part of the signature.
    listed=frozenset({"img_shapes"}),
    padded=frozenset({"encoder_hidden_states"}),
    padding_mask="encoder_hidden_states_mask",
)
CONTROLNET = replace(
    TRANSFORMER,
    component="controlnet",
    stage=CallStage.CONTROL,
    numbers=frozenset({"conditioning_scale"}),
    number_axes=3,
)
PARTS = (TEXT_ENCODER, *VAE, CONTROLNET, TRANSFORMER)
# All images of one edit, and further edits of the same picture, see it at the same size whatever they generate.
EDIT_PARTS = (TEXT_ENCODER, *(replace(part, memoised=part.stage is CallStage.ENCODE) for part in VAE), TRANSFORMER)
SIZE_MULTIPLE_PX = 16
INPAINTED_SIDE_PX = 1024
LAYER_SIDES_PX = (640, 1024)
OWN_MULTIPLE_PX = 32
"""Sides that pipelines choose themselves are multiples of this."""
OWN_PROPORTION = 7
"""Beyond this, rounding would lead to proportions of more than eight to one, which no request may have."""
NO_PROMPT = "\n"
PROCESSOR = "models.weights.pipelines.qwen_vision:load_processor"
PLACE_IMAGES = "models.weights.pipelines.qwen_vision:place_images"


def guided_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Name the arguments of guidance as these pipelines do; they guide only with a negative prompt, be it a space."""
    arguments = standard_arguments(request)
    arguments["true_cfg_scale"] = arguments.pop("guidance_scale")
    guided = request.guidance_scale > 1
    arguments["negative_prompt"] = (request.negative_prompt or " ") if guided else None
    return arguments


def _edit_arguments(request: GenerationRequest) -> dict[str, Any]:
    arguments = guided_arguments(request)
    return arguments if request.task is Task.INPAINT else arguments | {"image": request.images[0]}


def _edit_plus_arguments(request: GenerationRequest) -> dict[str, Any]:
    return guided_arguments(request) | {"image": list(request.images)}


def _layered_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Give the image the size that its layers get.

    Without a prompt, the pipeline would have its text encoder describe the image, outside of all batches.
    """
    arguments = guided_arguments(request)
    width, height = arguments.pop("width"), arguments.pop("height")
    image = pixels_of(request.images[0]).convert("RGBA").resize((width, height), Image.Resampling.LANCZOS)
    return {
        **arguments,
        "prompt": request.prompt.strip() or NO_PROMPT,
        "image": image,
        "layers": request.num_images,
        "resolution": _layer_side_px(width, height),
        "cfg_normalize": True,
    }


def _own_size(side_px: int, width: float, height: float) -> tuple[int, int]:
    """Return the size that a pipeline generates for an image, whatever is asked for: about the area of a square.

    It rounds (diffusers, calculate_dimensions), so an image of the resulting size may get yet another one; after at
    most four rounds the size stays the same.
    """
    proportion = min(max(width / height, 1 / OWN_PROPORTION), OWN_PROPORTION)
    exact = side_px * sqrt(proportion), side_px / sqrt(proportion)
    own_width, own_height = (round(side / OWN_MULTIPLE_PX) * OWN_MULTIPLE_PX for side in exact)
    own = own_width, own_height
    return own if own == (width, height) else _own_size(side_px, *own)


def _layer_side_px(width: float, height: float) -> int:
    """Return the side of the nearest of the two squares that the model was trained for."""
    return min(LAYER_SIDES_PX, key=lambda side_px: abs(side_px**2 - width * height))


def _layered_size(width: float, height: float) -> tuple[int, int]:
    return _own_size(_layer_side_px(width, height), width, height)


QWEN_IMAGE = Family(
    name="qwen-image",
    pipelines={
        Task.TEXT_TO_IMAGE: "QwenImagePipeline",
        Task.IMAGE_TO_IMAGE: "QwenImageImg2ImgPipeline",
        Task.INPAINT: "QwenImageInpaintPipeline",
    },
    # QwenImageControlNetInpaintPipeline takes no control image but the one to be inpainted.
    controlled={Task.TEXT_TO_IMAGE: "QwenImageControlNetPipeline"},
    controlnet="QwenImageControlNetModel",
    bases=("Qwen/Qwen-Image",),
    parts=PARTS,
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=guided_arguments,
    preview_latents=packed_latents(vae_factor=8),
    prompt_windows=(PromptWindow(tokens=512),),
    text_tokens=TextTokens(512, 1024),
    masks=True,
    unguided=Unguided.SECOND_CALL,
)

QWEN_IMAGE_EDIT = Family(
    name="qwen-image-edit",
    pipelines={Task.EDIT: "QwenImageEditPipeline", Task.INPAINT: "QwenImageEditInpaintPipeline"},
    own_size={Task.INPAINT: partial(_own_size, INPAINTED_SIDE_PX)},
    bases=("Qwen/Qwen-Image-Edit",),
    parts=EDIT_PARTS,
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_edit_arguments,
    preview_latents=packed_latents(vae_factor=8),
    components={"processor": PROCESSOR},
    prepare=PLACE_IMAGES,
    prompt_windows=(),
    text_tokens=TextTokens(512, 1024),
    masks=True,
    unguided=Unguided.SECOND_CALL,
)

QWEN_IMAGE_EDIT_PLUS = Family(
    name="qwen-image-edit-plus",
    pipelines={Task.EDIT: "QwenImageEditPlusPipeline"},
    bases=("Qwen/Qwen-Image-Edit-2509",),
    parts=EDIT_PARTS,
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_edit_plus_arguments,
    preview_latents=packed_latents(vae_factor=8),
    # What Edit-2509 was trained for (its model card).
    max_images=3,
    components={"processor": PROCESSOR},
    prepare=PLACE_IMAGES,
    prompt_windows=(),
    text_tokens=TextTokens(512, 1024),
    masks=True,
    unguided=Unguided.SECOND_CALL,
)

QWEN_IMAGE_LAYERED = Family(
    name="qwen-image-layered",
    pipelines={Task.EDIT: "QwenImageLayeredPipeline"},
    own_size={Task.EDIT: _layered_size},
    bases=("Qwen/Qwen-Image-Layered",),
    parts=EDIT_PARTS,
    schedulers=FLOW,
    size_multiple_px=OWN_MULTIPLE_PX,
    arguments=_layered_arguments,
    components={"processor": PROCESSOR},
    prepare=PLACE_IMAGES,
    transparent=True,
    layered=True,
    prompt_windows=(PromptWindow(tokens=512),),
    text_tokens=TextTokens(512, 1024),
    masks=True,
    unguided=Unguided.SECOND_CALL,
)
