"""LTX-2: videos with their sound, from a prompt and from a prompt and their first frame.

Its pipelines guide video and sound, each with scales of its own, away from what the model predicts without the prompt,
in the same call; and, in further calls, from what it predicts when video and sound do not see each other, or without
the attention of a block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from core.generation.request import GenerationRequest, Task
from core.pixels.upload import pixels_of
from models.catalogue.families.base import CallStage, Family, Part, PromptWindow, Unguided, standard_arguments
from models.catalogue.families.samplers import FLOW
from models.catalogue.families.videos.ltx import FRAMES_MULTIPLE, VAE_FACTOR, middle_frame

GUIDED_ABOVE = 1.0
TEXT_TOKENS = 1024
LEAST_S = 0.02
"""Half the duration of one latent of sound: shorter sound is rounded to no latents."""
FOLLOWING = dict.fromkeys(("audio_guidance_scale", "audio_stg_scale", "audio_modality_scale", "audio_guidance_rescale"))
"""With None, sound gets the video's scale."""
NO_GUIDANCE = {**FOLLOWING, "stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
GUIDANCE = {**NO_GUIDANCE, "modality_scale": 3.0, "guidance_rescale": 0.7, "audio_guidance_scale": 7.0}
"""As diffusers' documentation recommends, except for skipping attention, which has no effect in 2.0."""
GUIDANCE_2_3 = {**GUIDANCE, "stg_scale": 1.0, "spatio_temporal_guidance_blocks": [28]}

SIGMAS = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
"""The noise levels that the distilled models were taught (diffusers, `pipelines/ltx2/utils.py`)."""

_TASKS = {Task.TEXT_TO_VIDEO: "LTX2Pipeline", Task.IMAGE_TO_VIDEO: "LTX2ImageToVideoPipeline"}
_TAKEN_BY_2_0 = frozenset(
    {
        *("prompt", "negative_prompt", "image", "width", "height", "num_frames", "num_inference_steps", "sigmas"),
        *("guidance_scale", "guidance_rescale", "audio_guidance_scale", "modality_scale", "callback_on_step_end"),
    }
)
_TAKEN_BY_DISTILLED = _TAKEN_BY_2_0 - {"negative_prompt", "guidance_rescale", "audio_guidance_scale", "modality_scale"}
"""Without guidance, which would come on top of the distilled one."""


def _common(request: GenerationRequest, sees_other_time: bool) -> dict[str, Any]:
    """`sees_other_time`: whether video and sound see each other's noise level, as 2.3 was trained."""
    arguments = standard_arguments(request)
    if request.image is not None:
        # The pipeline compresses it like the model's training videos, for which it must be a PIL image.
        arguments["image"] = pixels_of(request.image)
    return {**arguments, "frame_rate": request.fps, "use_cross_timestep": sees_other_time}


def _arguments(request: GenerationRequest, guidance: Mapping[str, Any], sees_other_time: bool) -> dict[str, Any]:
    guided = guidance if request.guidance_scale > GUIDED_ABOVE else NO_GUIDANCE
    return {**_common(request, sees_other_time), **guided}


def _distilled_arguments(request: GenerationRequest, sees_other_time: bool) -> dict[str, Any]:
    """Guidance is distilled into the model."""
    arguments = _common(request, sees_other_time)
    del arguments["negative_prompt"]
    if (request.num_inference_steps, request.scheduler) == (len(SIGMAS), "flow_euler"):
        arguments["sigmas"] = SIGMAS
    return {**arguments, **NO_GUIDANCE}


LTX_2 = Family(
    name="ltx-2",
    pipelines=_TASKS,
    bases=("Lightricks/LTX-2",),
    parts=(
        # Only the hidden states are read, so neither logits nor a cache for generation are needed.
        Part("text_encoder", CallStage.ENCODE, memoised=True, fixed={"logits_to_keep": 1, "use_cache": False}),
        Part("connectors", CallStage.ENCODE),
        Part("vae", CallStage.ENCODE, "encode", casts=True, pixels_per_token=VAE_FACTOR**2),
        Part("vae", CallStage.DECODE, "decode", casts=True),
        Part("audio_vae", CallStage.DECODE, "decode", casts=True),
        Part("vocoder", CallStage.DECODE, casts=True),
        # The latents' size and the frame rate are plain numbers in the denoiser's call: only equal ones share passes.
        Part("transformer", CallStage.DENOISE),
    ),
    schedulers=FLOW,
    size_multiple_px=VAE_FACTOR,
    arguments=partial(_arguments, guidance=GUIDANCE, sees_other_time=False),
    preview_latents=middle_frame,
    frames_multiple=FRAMES_MULTIPLE,
    longer_than_s=LEAST_S,
    vocoder="vocoder",
    # For rewriting prompts, and for estimating a clip's duration; the processor needs torchvision.
    components=dict.fromkeys(
        ("processor", "prompt_enhancer", "duration_head"), "models.weights.pipelines.left_out:nothing"
    ),
    # The connectors fill the rest of a short prompt, and take this length only.
    prompt_windows=(PromptWindow(tokens=TEXT_TOKENS - 1),),
    inputs=dict.fromkeys(_TASKS.values(), _TAKEN_BY_2_0),
    masks=True,
    guided_above=GUIDED_ABOVE,
    unguided=Unguided.FIRST_HALF,
    perturbed_calls=1,
)
LTX_2_3 = replace(
    LTX_2,
    name="ltx-2.3",
    bases=("diffusers/LTX-2.3-Diffusers",),
    arguments=partial(_arguments, guidance=GUIDANCE_2_3, sees_other_time=True),
    inputs={},
    perturbed_calls=2,
)
LTX_2_DISTILLED = replace(
    LTX_2,
    name="ltx-2-distilled",
    bases=("rootonchair/LTX-2-19b-distilled",),
    arguments=partial(_distilled_arguments, sees_other_time=False),
    inputs=dict.fromkeys(_TASKS.values(), _TAKEN_BY_DISTILLED),
    negative_prompt=False,
    perturbed_calls=0,
)
LTX_2_3_DISTILLED = replace(
    LTX_2_DISTILLED,
    name="ltx-2.3-distilled",
    bases=("diffusers/LTX-2.3-Distilled-Diffusers",),
    arguments=partial(_distilled_arguments, sees_other_time=True),
)
