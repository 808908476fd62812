"""Wan 2.1 and 2.2: videos from a prompt, optionally with their first frame, or first and last; VACE does all of it.

Animate moves the figure of an image after videos of poses and of a face.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PIL import Image

from core.generation.request import SEGMENT_OVERLAP, GenerationRequest, Task
from core.pixels.upload import pixels_of
from models.catalogue.families.base import (
    AnimationSpec,
    CallStage,
    Family,
    Part,
    PromptWindow,
    TextTokens,
    Unguided,
    standard_arguments,
)
from models.catalogue.families.samplers import FLOW_MULTISTEP

TEXT_TO_VIDEO = {Task.TEXT_TO_VIDEO: "WanPipeline"}
IMAGE_TO_VIDEO = {Task.IMAGE_TO_VIDEO: "WanImageToVideoPipeline"}
FRAMES_MULTIPLE = 4
TEXT_ENCODER = Part("text_encoder", CallStage.ENCODE, memoised=True)
TRANSFORMER = Part("transformer", CallStage.DENOISE)
LOW_NOISE_TRANSFORMER = Part("transformer_2", CallStage.DENOISE)
"""Wan 2.2 A14B's second denoiser, which takes over below `boundary_ratio`; other checkpoints have none."""
FLOAT32 = frozenset({"vae", "image_encoder"})
"""As the model cards load them."""


def _vae(pixels_per_token: int) -> tuple[Part, Part]:
    return (
        Part("vae", CallStage.ENCODE, "encode", casts=True, pixels_per_token=pixels_per_token),
        Part("vae", CallStage.DECODE, "decode", casts=True),
    )


def _middle_frame(latents: Any, _request: GenerationRequest) -> Any:
    """From (1, C, f, h, w); the middle frame, since the first one of image-to-video is given and shows no progress."""
    return latents[0, :, latents.shape[2] // 2]


WAN = Family(
    name="wan",
    pipelines=TEXT_TO_VIDEO,
    bases=("Wan-AI/Wan2.1-T2V-14B-Diffusers", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"),
    parts=(TEXT_ENCODER, *_vae(4 * 8 * 8), TRANSFORMER, LOW_NOISE_TRANSFORMER),
    schedulers=FLOW_MULTISTEP,
    size_multiple_px=16,
    preview_latents=_middle_frame,
    frames_multiple=FRAMES_MULTIPLE,
    float32_components=FLOAT32,
    prompt_windows=(PromptWindow(tokens=511),),
    text_tokens=TextTokens(512, 512),
    unguided=Unguided.SECOND_CALL,
)

WAN_IMAGE_TO_VIDEO = Family(
    name="wan-i2v",
    pipelines=IMAGE_TO_VIDEO,
    bases=("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",),
    parts=(
        TEXT_ENCODER,
        Part("image_encoder", CallStage.ENCODE, memoised=True, casts=True),
        *_vae(4 * 8 * 8),
        TRANSFORMER,
        LOW_NOISE_TRANSFORMER,
    ),
    schedulers=FLOW_MULTISTEP,
    size_multiple_px=16,
    preview_latents=_middle_frame,
    frames_multiple=FRAMES_MULTIPLE,
    float32_components=FLOAT32,
    prompt_windows=(PromptWindow(tokens=511),),
    text_tokens=TextTokens(512, 512),
    unguided=Unguided.SECOND_CALL,
    last_image=True,
)


def _both_ends(request: GenerationRequest) -> dict[str, Any]:
    """Let a video end with its first image unless another last one is given."""
    arguments = standard_arguments(request)
    return {"last_image": arguments["image"], **arguments}


WAN_FIRST_AND_LAST = replace(
    WAN_IMAGE_TO_VIDEO,
    name="wan-flf2v",
    bases=("Wan-AI/Wan2.1-FLF2V-14B-720P-diffusers",),
    arguments=_both_ends,
    loops=True,
)
"""Wan 2.1 FLF2V: its transformer sees two images always."""

WAN_TEXT_AND_IMAGE_TO_VIDEO = Family(
    name="wan-ti2v",
    pipelines={**TEXT_TO_VIDEO, **IMAGE_TO_VIDEO},
    bases=("Wan-AI/Wan2.2-TI2V-5B-Diffusers",),
    parts=(TEXT_ENCODER, *_vae(4 * 16 * 16), TRANSFORMER),
    schedulers=FLOW_MULTISTEP,
    size_multiple_px=32,
    preview_latents=_middle_frame,
    frames_multiple=FRAMES_MULTIPLE,
    float32_components=FLOAT32,
    prompt_windows=(PromptWindow(tokens=511),),
    text_tokens=TextTokens(512, 512),
    unguided=Unguided.SECOND_CALL,
)
"""Wan 2.2 5B: one checkpoint for both tasks, which gives each token its own timestep."""


GREY, KEPT, GENERATED = (128, 128, 128), 0, 255
"""The placeholder for frames to be generated, and the mask values that mark them (diffusers, wan.md)."""


def _vace_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Pass the first and last frames of image-to-video in a video whose other frames are masked."""
    arguments = standard_arguments(request)
    if request.task is not Task.IMAGE_TO_VIDEO:
        return arguments
    size = request.width, request.height
    video = [Image.new("RGB", size, GREY)] * request.num_frames
    mask = [Image.new("L", size, GENERATED)] * request.num_frames
    for place, name in ((0, "image"), (-1, "last_image")):
        if name in arguments:
            video[place] = pixels_of(arguments.pop(name)).convert("RGB").resize(size)
            mask[place] = Image.new("L", size, KEPT)
    return {**arguments, "video": video, "mask": mask}


WAN_VACE = replace(
    WAN,
    name="wan-vace",
    pipelines={Task.TEXT_TO_VIDEO: "WanVACEPipeline", Task.IMAGE_TO_VIDEO: "WanVACEPipeline"},
    bases=("Wan-AI/Wan2.1-VACE-1.3B-diffusers", "Wan-AI/Wan2.1-VACE-14B-diffusers"),
    parts=(
        TEXT_ENCODER,
        *_vae(4 * 8 * 8),
        # One scale for each layer that gets the condition.
        replace(TRANSFORMER, shared=frozenset({"control_hidden_states_scale"})),
    ),
    last_image=True,
    arguments=_vace_arguments,
)


def _animate_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Open the videos. With a background video, the figure replaces one in it."""
    arguments = standard_arguments(request)
    # As many as the poses.
    del arguments["num_frames"]
    videos = {name: video.open() for name, video in request.named_videos.items()}
    return {
        **arguments,
        **videos,
        "mode": "animate" if request.background_video is None else "replace",
        "segment_frame_length": request.segment_frames,
        "prev_segment_conditioning_frames": SEGMENT_OVERLAP,
    }


WAN_ANIMATE = replace(
    WAN_IMAGE_TO_VIDEO,
    name="wan-animate",
    pipelines={Task.IMAGE_TO_VIDEO: "WanAnimatePipeline"},
    bases=("Wan-AI/Wan2.2-Animate-14B-Diffusers",),
    parts=tuple(part for part in WAN_IMAGE_TO_VIDEO.parts if part is not LOW_NOISE_TRANSFORMER),
    last_image=False,
    animation=AnimationSpec(face_px=512, segment_frames=77),
    arguments=_animate_arguments,
)
