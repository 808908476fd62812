"""Pictures as files, carrying the parameters that draw them again.

PNG keeps them in a text chunk named `parameters`, JPEG and WebP in the EXIF UserComment: JSON with the fields
of `POST /generate`, so that it can be posted back as it is (with the image and mask, where there were any).
"""

from __future__ import annotations

import json
from enum import StrEnum
from io import BytesIO
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from models.request import GenerationRequest, Task
from runners.events import Picture

PNG_COMPRESS_LEVEL = 4
"""zlib's default of 6, or `optimize`, takes several times as long to save a few per cent."""
_COMMENT_PREFIX = b"UNICODE\x00"


class OutputFormat(StrEnum):
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def media_type(self) -> str:
        return f"image/{self.value}"


def parameters_of(request: GenerationRequest, picture: Picture) -> dict[str, Any]:
    """Return the fields of a request that draws this one picture again."""
    fields: dict[str, Any] = request.model_dump(
        mode="json",
        include={
            *("model", "task", "prompt", "negative_prompt", "width", "height"),
            *("num_inference_steps", "guidance_scale", "scheduler"),
        },
    )
    if request.task is not Task.TEXT_TO_IMAGE:
        fields["strength"] = request.strength
    return {**fields, "seed": picture.seed}


def encode_picture(request: GenerationRequest, picture: Picture, output_format: OutputFormat, quality: int) -> bytes:
    """Write a picture as a file; the same picture and parameters give the same bytes.

    `quality` is 1 to 100 for JPEG and WebP; PNG has none.
    """
    parameters = parameters_of(request, picture)
    parameters |= {"output_format": output_format.value}
    if output_format is not OutputFormat.PNG:
        parameters |= {"quality": quality}
    comment = json.dumps(parameters, ensure_ascii=False)
    buffer = BytesIO()
    if output_format is OutputFormat.PNG:
        picture.image.save(buffer, "PNG", compress_level=PNG_COMPRESS_LEVEL, pnginfo=_png_text(comment))
    else:
        picture.image.save(buffer, output_format.value.upper(), quality=quality, exif=_exif(comment))
    return buffer.getvalue()


def encode_preview(image: Image.Image) -> bytes:
    """Write a preview as a small PNG without metadata."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()


def read_parameters(image: Image.Image) -> dict[str, Any]:
    """Return what `encode_picture` wrote into an opened picture. Raises ValueError if there is nothing."""
    text = getattr(image, "text", {}).get("parameters") or _user_comment(image)
    if text is None:
        raise ValueError("the picture carries no parameters")
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def _png_text(comment: str) -> PngInfo:
    text = PngInfo()
    text.add_itxt("parameters", comment)
    text.add_text("Software", "Jubako")
    return text


def _exif(comment: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "Jubako"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _COMMENT_PREFIX + comment.encode("utf-16-be")
    return exif


def _user_comment(image: Image.Image) -> str | None:
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes) or not comment.startswith(_COMMENT_PREFIX):
        return None
    return comment.removeprefix(_COMMENT_PREFIX).decode("utf-16-be")
