"""Qwen-Image 2.1: generates from text and edits images, with one set of weights; its images may be transparent."""

from __future__ import annotations

from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import CallStage, Family, Part, Unguided
from models.catalogue.families.images.qwen_image import TEXT_ENCODER, guided_arguments
from models.catalogue.families.samplers import FLOW

PIPELINE = "QwenImage21Pipeline"
VAE_FACTOR = 16


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """Have the pipeline compute the prompt and the images of an edit at every step.

    By default it caches what the first step makes of them in an object of the request, and calls with objects of their
    own share no pass.
    """
    arguments = guided_arguments(request) | {"use_kv_cache": False}
    return arguments | {"image": list(request.images)} if request.task is Task.EDIT else arguments


def _config(loaded: Any, request: GenerationRequest) -> Any:
    """Leave out a distilled checkpoint's sigmas unless there are as many as the request's steps.

    The pipeline would otherwise use them whatever number of steps is asked for.
    """
    sigmas = loaded.get("sample_sigmas")
    if sigmas is None or len(sigmas) == request.num_inference_steps:
        return loaded
    return type(loaded)({**loaded, "sample_sigmas": None})


def _unpacked(latents: Any, request: GenerationRequest) -> Any:
    """Take latents from (1, h * w, C) to (C, h, w)."""
    return latents[0].T.reshape(-1, request.height // VAE_FACTOR, request.width // VAE_FACTOR)


QWEN_IMAGE_21 = Family(
    name="qwen-image-2.1",
    pipelines={Task.TEXT_TO_IMAGE: PIPELINE, Task.EDIT: PIPELINE},
    bases=("Qwen/Qwen-Image-2.1",),
    parts=(
        TEXT_ENCODER,
        Part("vae", CallStage.ENCODE, "encode", casts=True, memoised=True, pixels_per_token=VAE_FACTOR**2),
        Part("vae", CallStage.DECODE, "decode", casts=True),
        # Where text and images are is read from the first sample, and an image's place depends on the text's length.
        # So only prompts of equal lengths share, and the unguided halves with the usual negative prompt.
        Part("transformer", CallStage.DENOISE, shared=frozenset({"img_mask"}), listed=frozenset({"img_shapes"})),
    ),
    schedulers=FLOW,
    size_multiple_px=2 * VAE_FACTOR,
    arguments=_arguments,
    preview_latents=_unpacked,
    # The pipeline has no limit, but each adds a megapixel's tokens to every step.
    max_images=3,
    components={"processor": "models.weights.pipelines.qwen_vision:load_processor_3"},
    own={"_internal_dict": _config},
    transparent=True,
    prompt_windows=(),
    masks=True,
    # When it computes the prompt at every step, it always uses PyTorch's own attention (diffusers 0.42).
    chooses_attention=False,
    unguided=Unguided.SECOND_CALL,
)
