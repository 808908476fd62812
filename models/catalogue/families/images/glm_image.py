"""GLM-Image: a language model writes an image as tokens, from which a diffusion transformer generates it."""

from __future__ import annotations

from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import Family, Part, Stage, TextTokens, Unguided, standard_arguments
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.samplers import FLOW

TEXT_TOKENS = 2048
"""Of the words in quotes, which are to be seen in the image; the language model reads all of a prompt."""


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """The pipeline guides by an empty prompt."""
    arguments = standard_arguments(request)
    del arguments["negative_prompt"]
    return arguments


GLM_IMAGE = Family(
    name="glm-image",
    # It edits as well, by calls of its transformer that fill an object of the request: such calls share no pass.
    pipelines={Task.TEXT_TO_IMAGE: "GlmImagePipeline"},
    bases=("zai-org/GLM-Image",),
    parts=(
        # One image after the other, each with its own seed: over a thousand tokens of one megapixel.
        Part("vision_language_encoder", Stage.ENCODE, "generate", apart=True, seeded=True),
        Part("text_encoder", Stage.ENCODE, memoised=True),
        *VAE,
        # Nothing masks the quoted words, so only those of one length share, as all prompts without quotes do. It looks
        # at 2x2 latents at a time.
        Part("transformer", Stage.DENOISE, ignored=frozenset({"kv_caches"}), pixels_per_token=4),
    ),
    schedulers=FLOW,
    size_multiple_px=32,
    arguments=_arguments,
    negative_prompt=False,
    prompt_windows=(),
    text_tokens=TextTokens(TEXT_TOKENS, TEXT_TOKENS),
    unguided=Unguided.SECOND_CALL,
)
