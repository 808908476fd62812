"""LTX-Video: the first one, in a pipeline for each task, and the distilled ones, in one that takes conditions."""

from __future__ import annotations

from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import (
    CallStage,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    Unguided,
    standard_arguments,
)
from models.catalogue.families.samplers import FLOW

VAE_FACTOR = 32
FRAMES_MULTIPLE = 8
# The latents' size and scale, and so fps, are plain numbers in the denoiser's call: only equal ones share passes.
PARTS = (
    Part("text_encoder", CallStage.ENCODE, memoised=True),
    Part("vae", CallStage.ENCODE, "encode", casts=True, pixels_per_token=VAE_FACTOR**2),
    Part("vae", CallStage.DECODE, "decode", casts=True),
    Part("transformer", CallStage.DENOISE),
)


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """The model is conditioned on the frame rate."""
    return {**standard_arguments(request), "frame_rate": request.fps}


def middle_frame(latents: Any, request: GenerationRequest) -> Any:
    """From (1, f * h * w, C) to (C, h, w); an image to start from may stand before the video's own tokens."""
    h, w = request.height // VAE_FACTOR, request.width // VAE_FACTOR
    f = (request.num_frames - 1) // FRAMES_MULTIPLE + 1
    video = latents[0, -f * h * w :].reshape(f, h, w, -1)
    return video[f // 2].permute(2, 0, 1)


DISTILLED_TIMESTEPS = [1000, 993, 987, 981, 975, 909, 725, 0.03]
"""The training times that the distilled models were taught (diffusers' documentation of LTX-Video)."""


def _distilled_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Guidance is distilled into the model; its decoder does the last bit of denoising."""
    arguments = _arguments(request)
    del arguments["negative_prompt"]
    if request.last_image is not None:
        # For each condition, the pipeline also expects a video argument.
        arguments |= {
            "image": [request.image, arguments.pop("last_image")],
            "video": [None, None],
            "frame_index": [0, request.num_frames - 1],
        }
    if (request.num_inference_steps, request.scheduler) == (len(DISTILLED_TIMESTEPS), "flow_euler"):
        arguments["timesteps"] = DISTILLED_TIMESTEPS
    return {**arguments, "decode_timestep": 0.05, "decode_noise_scale": 0.025, "image_cond_noise_scale": 0.0}


LTX = Family(
    name="ltx",
    pipelines={Task.TEXT_TO_VIDEO: "LTXPipeline", Task.IMAGE_TO_VIDEO: "LTXImageToVideoPipeline"},
    bases=("Lightricks/LTX-Video", "diffusers/LTX-Video-0.9.1", "Lightricks/LTX-Video-0.9.5"),
    parts=PARTS,
    schedulers=FLOW,
    size_multiple_px=VAE_FACTOR,
    arguments=_arguments,
    preview_latents=middle_frame,
    frames_multiple=FRAMES_MULTIPLE,
    prompt_windows=(PromptWindow(tokens=127),),
    text_tokens=TextTokens(128, 512),
    masks=True,
    unguided=Unguided.FIRST_HALF,
)

LTX_DISTILLED = Family(
    name="ltx-distilled",
    pipelines={Task.TEXT_TO_VIDEO: "LTXConditionPipeline", Task.IMAGE_TO_VIDEO: "LTXConditionPipeline"},
    bases=("Lightricks/LTX-Video-0.9.8-13B-distilled",),
    parts=PARTS,
    schedulers=FLOW,
    size_multiple_px=VAE_FACTOR,
    arguments=_distilled_arguments,
    preview_latents=middle_frame,
    negative_prompt=False,
    frames_multiple=FRAMES_MULTIPLE,
    last_image=True,
    prompt_windows=(PromptWindow(tokens=255),),
    text_tokens=TextTokens(256, 512),
    masks=True,
    unguided=Unguided.FIRST_HALF,
)
"""0.9.7 and 0.9.8."""
