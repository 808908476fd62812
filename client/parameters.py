"""Names and types of the typed APIs' parameters, for editors and type checkers; the server knows the limits.

They match the server's own forms, which a test of the server checks. None is the same as leaving one out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from .files import FileSource, ImageSource
from .results import Image, Video

AnyImageSource = ImageSource | Image
VideoSource = FileSource | Video
"""A video file, or an earlier result."""
Camera = Literal[
    "forward", "left", "right", "down", "rotate-left-45", "rotate-right-45", "top-down", "wide-angle", "close-up"
]


class _Lora(TypedDict):
    name: str


class Lora(_Lora, total=False):
    scale: float


class Hires(TypedDict, total=False):
    """A second pass at a larger size."""

    scale: float | None
    width: int | None
    height: int | None
    strength: float | None
    num_inference_steps: int | None
    upscaler: Literal["lanczos", "model"] | None


class _Scene(TypedDict):
    prompt: str


class Scene(_Scene, total=False):
    """A scene of a story, as returned by `POST /storyboard/plan`."""

    caption: str
    characters: Sequence[str] | None


class _Character(TypedDict):
    name: str


class Character(_Character, total=False):
    """A character of a story."""

    prompt: str


class Shared(TypedDict, total=False):
    """Parameters of all APIs but the storyboard."""

    negative_prompt: str | None
    model: str | None
    width: int | None
    height: int | None
    num_inference_steps: int | None
    guidance_scale: float | None
    seed: int | None
    num_images: int | None
    scheduler: str | None
    loras: Sequence[Lora] | None
    priority: int | None
    reproducible: bool | None
    deadline_s: float | None
    output_format: Literal["png", "jpeg", "webp", "mp4", "webm", "gif"] | None
    quality: int | None
    prompt_syntax: Literal["plain", "a1111", "compel"] | None
    step_cache: Literal["off", "quality", "fast", "auto"] | None
    prompt_2: str | None
    negative_prompt_2: str | None
    clip_skip: int | None
    max_sequence_length: int | None
    guidance_rescale: float | None
    guidance_end: float | None
    guidance_scale_2: float | None
    audio_guidance_scale: float | None
    stg_scale: float | None
    modality_scale: float | None
    eta: float | None
    flow_shift: float | None
    sigmas: Sequence[float] | None
    timesteps: Sequence[float] | None


class Upscaled(Shared, total=False):
    upscale: int | None


class Conditioned(Upscaled, total=False):
    reference_image: AnyImageSource | None
    reference_scale: float | None
    control_image: AnyImageSource | None
    control_type: str | None
    control_scale: float | None
    fit: Literal["crop", "pad", "stretch"] | None


class TextToImage(Conditioned, total=False):
    hires: Hires | None


class ImageToImage(Conditioned, total=False):
    strength: float | None


class Inpaint(ImageToImage, total=False):
    method: Literal["diffusion", "token-opt"] | None
    iterations: int | None


class Edit(Upscaled, total=False):
    mask: AnyImageSource | None
    fit: Literal["crop", "pad", "stretch"] | None
    camera: Camera | None


class TextToVideo(Shared, total=False):
    num_frames: int | None
    fps: int | None


class AnimationVideoParameters(TypedDict, total=False):
    """Videos that animate the figure in an image."""

    pose_video: VideoSource | None
    face_video: VideoSource | None
    background_video: VideoSource | None
    mask_video: VideoSource | None


class ImageToVideo(AnimationVideoParameters, TextToVideo, total=False):
    last_image: AnyImageSource | None
    fit: Literal["crop", "pad", "stretch"] | None


class Stream(AnimationVideoParameters, Inpaint, total=False):
    """Parameters of the API that is streamed, and which events to send meanwhile."""

    image: AnyImageSource | None
    mask: AnyImageSource | None
    images: Sequence[AnyImageSource] | None
    last_image: AnyImageSource | None
    num_frames: int | None
    fps: int | None
    camera: Camera | None
    hires: Hires | None
    progress: bool | None
    preview_every: int | None


class Background(Stream, total=False):
    """Parameters of all jobs, stories included."""

    webhook_url: str | None
    use_ref_guided: bool | None
    mode: Literal["auto", "simple", "ref_guided", "edit"] | None
    characters: Sequence[Character] | None
    reference_model: str | None
    scenes: Sequence[Scene] | None
    gpt_temperature: float | None
    clip_threshold: float | None
    max_tries: int | None


class Upscale(TypedDict, total=False):
    upscale: int | None
    output_format: Literal["png", "jpeg", "webp"] | None
    quality: int | None


class Story(TypedDict, total=False):
    use_ref_guided: bool | None
    mode: Literal["auto", "simple", "ref_guided", "edit"] | None
    num_frames: int | None
    scenes: Sequence[Scene] | None
    seed: int | None
    gpt_temperature: float | None
    model: str | None
    loras: Sequence[Lora] | None
    reference_image: AnyImageSource | None
    reference_scale: float | None
    characters: Sequence[Character] | None
    images: Sequence[AnyImageSource] | None
    reference_model: str | None
    num_inference_steps: int | None
    guidance_scale: float | None
    width: int | None
    height: int | None
    negative_prompt: str | None
    step_cache: Literal["off", "quality", "fast", "auto"] | None
    guidance_end: float | None
    upscale: int | None
    clip_threshold: float | None
    max_tries: int | None
    deadline_s: float | None
    output_format: Literal["png", "jpeg", "webp"] | None
    priority: int | None
