"""HunyuanVideo 1.5: videos from a prompt, guided by an object of the pipeline instead of an argument."""

from __future__ import annotations

from copy import copy
from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import CallStage, Family, Part, PromptWindow, Unguided, standard_arguments
from models.catalogue.families.samplers import FLOW

VAE_FACTOR = 16
FRAMES_MULTIPLE = 4
GUIDED_ABOVE = 1.0
PIPELINE = "HunyuanVideo15Pipeline"


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    arguments = standard_arguments(request)
    del arguments["guidance_scale"]
    return arguments


def _guider(loaded: Any, request: GenerationRequest) -> Any:
    """Return a guider of the request's own, since it counts steps."""
    guider = copy(loaded)
    guider.guidance_scale = request.guidance_scale
    guider.enable() if request.guidance_scale > GUIDED_ABOVE else guider.disable()
    return guider


HUNYUAN_VIDEO_1_5 = Family(
    name="hunyuan-video-1.5",
    pipelines={Task.TEXT_TO_VIDEO: PIPELINE},
    bases=("hunyuanvideo-community/HunyuanVideo-1.5-Diffusers-480p_t2v",),
    parts=(
        # Only the hidden states are read, so no cache for generation is needed.
        Part("text_encoder", CallStage.ENCODE, memoised=True, fixed={"use_cache": False}),
        # For quoted words, which are to be rendered in the video.
        Part("text_encoder_2", CallStage.ENCODE, memoised=True),
        # Its attention over frames expects a mask of another shape than several clips have (diffusers 0.42).
        Part("vae", CallStage.DECODE, "decode", apart=True),
        Part("transformer", CallStage.DENOISE),
    ),
    schedulers=FLOW,
    size_multiple_px=VAE_FACTOR,
    arguments=_arguments,
    frames_multiple=FRAMES_MULTIPLE,
    own={"guider": _guider},
    prompt_windows=(PromptWindow(tokens=1000),),
    # The pipeline has no step callback.
    inputs={
        PIPELINE: frozenset(
            {"prompt", "negative_prompt", "width", "height", "num_frames", "num_inference_steps", "sigmas"}
        )
    },
    masks=True,
    guided_above=GUIDED_ABOVE,
    unguided=Unguided.SECOND_CALL,
)
