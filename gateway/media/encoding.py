"""Encode images and clips as files that carry the parameters to generate them again.

PNG keeps them in a text chunk named `parameters`, JPEG and WebP in the EXIF UserComment, MP4, WebM and GIF in
their comment: JSON with the fields of `POST /stream`, which can be posted back as it is (with its images, if there
were any). If images carry A1111's text there, PNG keeps ours in the chunk `jubako`, JPEG and WebP in the EXIF
ImageDescription.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidRequest
from core.generation.events import Clip, Picture, Result
from core.generation.hints import ignored_hint
from core.generation.prompt_syntax import has_marks
from core.generation.request import FILES, GenerationRequest, Method, Task
from core.generation.step_cache import StepCache
from core.generation.tuning import PROMPTS, TUNING
from gateway.media.metadata import Metadata, exif_of, fitting, png_text
from gateway.media.png import png_of
from gateway.media.reading.decoded_kinds import opaque
from gateway.media.video_encoding import MP4, WEBM, encode_gif, encode_video

PNG_COMPRESS_LEVEL = 4
"""zlib's default of 6, or `optimize`, takes several times as long to save a few per cent."""
DEFAULT_QUALITY = 90
_ABOUT_THE_ANSWER = {"num_images", "priority", "deadline_s", "progress", "preview_every", "hints"}
_FOLLOWS = {"control_mode", "segment_frames"}
"""Fields that the server derives from others."""


class OutputFormat(StrEnum):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"
    MP4 = "mp4"
    WEBM = "webm"
    GIF = "gif"

    @property
    def media_type(self) -> str:
        return f"video/{self.value}" if self in (OutputFormat.MP4, OutputFormat.WEBM) else f"image/{self.value}"


PICTURE_FORMATS = (OutputFormat.PNG, OutputFormat.JPEG, OutputFormat.WEBP)
VIDEO_FORMATS = (OutputFormat.MP4, OutputFormat.WEBM, OutputFormat.GIF)
SOUND_FORMATS = (OutputFormat.MP4, OutputFormat.WEBM)
_WITHOUT_QUALITY = (OutputFormat.PNG, OutputFormat.GIF)


def format_for(task: Task, wanted: OutputFormat | None) -> OutputFormat:
    """Return the file format of a task's results, by default its first. Raises InvalidRequest."""
    formats = VIDEO_FORMATS if task.is_video else PICTURE_FORMATS
    if wanted is None:
        return formats[0]
    if wanted not in formats:
        raise InvalidRequest(
            "output_format", f"{wanted} is not a format for {task}; choose one of {', '.join(formats)}"
        )
    return wanted


def idle_quality(output_format: OutputFormat, quality: int) -> tuple[str, ...]:
    """Return a hint if a quality was chosen for a format that has none."""
    is_idle = output_format in _WITHOUT_QUALITY and quality != DEFAULT_QUALITY
    return (ignored_hint("quality", f"{output_format.value} has none"),) if is_idle else ()


def has_sound(result: Result, output_format: OutputFormat) -> bool:
    """Whether a result's file has sound."""
    return isinstance(result, Clip) and result.sound is not None and output_format in SOUND_FORMATS


def idle_sound(output_format: OutputFormat) -> tuple[str, ...]:
    """Return a hint if a format drops a clip's sound."""
    if output_format in SOUND_FORMATS:
        return ()
    choice = " or ".join(SOUND_FORMATS)
    return (f"output_format: {output_format} is silent; the model makes sound too, which {choice} has",)


def parameters_of(request: GenerationRequest, result: Result) -> dict[str, Any]:
    """Return the fields of a request that generates this one result again, with the same input images."""
    return {**repeatable_fields(request, result.step_cache), "seed": result.seed}


def repeatable_fields(request: GenerationRequest, step_cache: StepCache) -> dict[str, Any]:
    """Return the fields that a request used, without its seed, its images and what only concerns its answer.

    An automatic `step_cache` depends on the moment, and the server's default may change, so the fields have the value
    that was used.
    """
    # Fields that the task does not use would be refused.
    diffuses = request.method is Method.DIFFUSION
    used = {
        "num_inference_steps": diffuses,
        "guidance_scale": diffuses,
        "scheduler": diffuses,
        "strength": diffuses and request.task.takes_strength,
        "num_frames": request.task.is_video,
        "fps": request.task.is_video,
        "loras": bool(request.loras),
        "fit": request.fit is not None,
        "hires": request.hires is not None,
        "upscale": request.upscale is not None,
        "reproducible": request.reproducible,
        "reference_scale": request.reference_image is not None,
        "control_type": request.control_image is not None,
        "control_scale": request.control_image is not None,
        "prompt_syntax": any(map(has_marks, (getattr(request, name) for name in PROMPTS))),
        "method": not diffuses,
        "iterations": not diffuses,
    }
    unused = {name for name, is_used in used.items() if not is_used}
    about_the_answer = _ABOUT_THE_ANSWER - {"num_images"} if request.layered else _ABOUT_THE_ANSWER
    unused |= set(TUNING) - request.tuned.keys()
    kept_out = {"seed", "step_cache", "layered", *about_the_answer, *_FOLLOWS, *FILES, *unused}
    fields: dict[str, Any] = request.model_dump(mode="json", exclude=kept_out)
    return {**fields, "step_cache": step_cache.value} if diffuses else fields


def encode_result(
    request: GenerationRequest,
    result: Result,
    output_format: OutputFormat,
    quality: int,
    metadata: Metadata | None = None,
) -> bytes:
    """Write an image or clip as a file; the same result and parameters give the same bytes.

    `quality` is 1 to 100; PNG and GIF have none. `format_for` says which formats fit the request. `metadata` is the
    operator's choice unless a contract has its own.
    """
    parameters = _file_parameters(request, result, output_format, quality)
    if isinstance(result, Clip):
        return _encode_clip(result, output_format, quality, _json(parameters))
    return _encode_picture(result, output_format, quality, parameters, metadata or Metadata.usual())


def _encode_picture(
    picture: Picture, output_format: OutputFormat, quality: int, parameters: Mapping[str, Any], metadata: Metadata
) -> bytes:
    if output_format is OutputFormat.PNG:
        return png_of(picture.image, png_text(parameters, metadata))
    buffer, image = BytesIO(), picture.image
    if output_format is OutputFormat.JPEG:
        # It has no alpha channel.
        parameters, image = fitting(parameters, metadata), opaque(image)
    image.save(buffer, output_format.value.upper(), quality=quality, exif=exif_of(parameters, metadata))
    return buffer.getvalue()


def _encode_clip(clip: Clip, output_format: OutputFormat, quality: int, comment: str) -> bytes:
    if output_format is OutputFormat.GIF:
        return encode_gif(clip, comment)
    return encode_video(clip, MP4 if output_format is OutputFormat.MP4 else WEBM, quality, comment)


def png_metadata(request: GenerationRequest, result: Result) -> PngInfo:
    """Return the parameters of a result as a PNG keeps them."""
    return png_text(_file_parameters(request, result, OutputFormat.PNG, quality=100), Metadata.usual())


def _file_parameters(
    request: GenerationRequest, result: Result, output_format: OutputFormat, quality: int
) -> dict[str, Any]:
    qualified = {} if output_format in _WITHOUT_QUALITY else {"quality": quality}
    return {**parameters_of(request, result), "output_format": output_format.value, **qualified}


def _json(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, ensure_ascii=False)


def encode_image(image: Image.Image, output_format: OutputFormat, quality: int) -> bytes:
    """Write an image that no request generated, without parameters."""
    if output_format is OutputFormat.PNG:
        return encode_preview(image)
    buffer = BytesIO()
    image.save(buffer, output_format.value.upper(), quality=quality)
    return buffer.getvalue()


def encode_preview(image: Image.Image) -> bytes:
    """Write a preview as a small PNG without metadata."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()
