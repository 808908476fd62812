"""Wan 2.1 and 2.2: videos from a prompt, and from a prompt and their first frame."""

from __future__ import annotations

from typing import Any

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.base import Family, Part, PromptWindow, Stage, TextTokens, Unguided
from models.catalogue.families.samplers import FLOW_MULTISTEP

TEXT_TO_VIDEO = {Task.TEXT_TO_VIDEO: "WanPipeline"}
IMAGE_TO_VIDEO = {Task.IMAGE_TO_VIDEO: "WanImageToVideoPipeline"}
FRAMES_MULTIPLE = 4
TEXT_ENCODER = Part("text_encoder", Stage.ENCODE, memoised=True)
TRANSFORMER = Part("transformer", Stage.DENOISE)
LOW_NOISE_TRANSFORMER = Part("transformer_2", Stage.DENOISE)
"""Wan 2.2 A14B: takes over below `boundary_ratio`; other checkpoints have none."""
FLOAT32 = frozenset({"vae", "image_encoder"})
"""As the model cards load them."""


def _vae(pixels_per_token: int) -> tuple[Part, Part]:
    return (
        Part("vae", Stage.ENCODE, "encode", casts=True, pixels_per_token=pixels_per_token),
        Part("vae", Stage.DECODE, "decode", casts=True),
    )


def _middle_frame(latents: Any, _request: GenerationRequest) -> Any:
    """From (1, C, f, h, w); the first frame of image-to-video is given, and shows no progress."""
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
        Part("image_encoder", Stage.ENCODE, memoised=True, casts=True),
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
)

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
