"""FLUX.2, dev and klein: each generates from text, and edits one or several images, with one set of weights."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt
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

SIZE_MULTIPLE_PX = 16
MOST_PIXELS = 1024 * 1024
SHORTEST_SIDE_PX = 64
LONGEST_TO_SHORTEST = 8
"""The pipeline refuses smaller or more elongated images (diffusers, Flux2ImageProcessor.check_image_input)."""


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """The pipelines take no negative prompt; klein, unless distilled, is guided away from an empty one."""
    arguments = standard_arguments(request)
    del arguments["negative_prompt"]
    if request.task is Task.EDIT:
        # The pipeline itself reduces larger images to a megapixel, and crops to its multiple.
        arguments["image"] = [_acceptable(pixels_of(image)) for image in request.images]
    return arguments


def _acceptable(image: Image.Image) -> Image.Image:
    """Enlarge an image that is too small for the pipeline, and widen one that is too narrow for it."""
    longest, shortest = max(image.size), min(image.size)
    shortest = max(shortest, ceil(longest / LONGEST_TO_SHORTEST))
    if shortest < SHORTEST_SIDE_PX:
        longest, shortest = longest * SHORTEST_SIDE_PX // shortest, SHORTEST_SIDE_PX
    size = (longest, shortest) if image.width >= image.height else (shortest, longest)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _inpainted_size(width: float, height: float) -> tuple[int, int]:
    """Return the size at which the inpainting pipeline generates for an image: at most a megapixel."""
    scale = min(1.0, sqrt(MOST_PIXELS / (width * height)))
    across, down = (int(side * scale) // SIZE_MULTIPLE_PX * SIZE_MULTIPLE_PX for side in (width, height))
    return across, down


FLUX_2_KLEIN = Family(
    name="flux2-klein",
    pipelines={
        Task.TEXT_TO_IMAGE: "Flux2KleinPipeline",
        Task.EDIT: "Flux2KleinPipeline",
        Task.INPAINT: "Flux2KleinInpaintPipeline",
    },
    own_size={Task.INPAINT: _inpainted_size},
    bases=("black-forest-labs/FLUX.2-klein-4B",),
    parts=(
        # A language model whose hidden states are the encoding, over texts padded to one length. By default it would
        # also compute logits, which are not used and larger than all hidden states, and keep a cache for generation.
        Part("text_encoder", CallStage.ENCODE, memoised=True, fixed={"logits_to_keep": 1, "use_cache": False}),
        *VAE,
        # Positions are (B, S, 4), but the transformer uses those of the first sample only.
        Part("transformer", CallStage.DENOISE, shared=frozenset({"img_ids", "txt_ids"})),
    ),
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_arguments,
    # Packed as FLUX.1's are: the channels of a 2x2 patch, position last.
    preview_latents=packed_latents(vae_factor=8),
    negative_prompt=False,
    max_images=4,  # https://docs.bfl.ai/guides/prompting_editing_overview
    # 512, less the three that open the chat template.
    prompt_windows=(PromptWindow(tokens=509),),
    text_tokens=TextTokens(512, 512),
    unguided=Unguided.SECOND_CALL,
)

FLUX_2 = replace(
    FLUX_2_KLEIN,
    name="flux2",
    pipelines={Task.TEXT_TO_IMAGE: "Flux2Pipeline", Task.EDIT: "Flux2Pipeline"},
    own_size={},
    bases=("black-forest-labs/FLUX.2-dev",),
    max_images=6,  # "Recommended max", on the page above
    components={"tokenizer": "models.weights.pipelines.chat_tokenizer:load_tokenizer"},
    # 512, less some 31 of the system message and the tokens around it.
    prompt_windows=(PromptWindow(tokens=481),),
    # Guidance is distilled into the model, which takes the scale as an input.
    unguided=None,
)
