"""Decode uploaded files to the two forms that the rest of the system uses: RGB images and L masks.

Whatever a file claims, nothing is decoded before its header has been checked against the limits.
Colour profiles are not applied. Of an animation, the first frame is taken.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InvalidRequest

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Decoders that an untrusted file may reach."""
MAX_SIDE_PX = 32768
MAX_IMAGES = 16
"""Files in one field, whatever the model allows."""


def decode_field(field: str, files: list[bytes], max_px: int) -> Image.Image | list[Image.Image]:
    """Decode the files of one field of a form; only `images` takes several, of `max_px` pixels together.

    Raises InvalidRequest.
    """
    if not files and field != "images":
        raise InvalidRequest(field, "is an empty list")
    if len(files) > (MAX_IMAGES if field == "images" else 1):
        raise InvalidRequest(field, f"has {len(files)} files, more than it takes")
    decode = decode_mask if field == "mask" else decode_image
    pictures: list[Image.Image] = []
    for file in files:
        left = max_px - sum(picture.width * picture.height for picture in pictures)
        pictures.append(decode(file, field, left))
    return pictures if field == "images" else pictures[0]


def decode_image(data: bytes, field: str, max_px: int) -> Image.Image:
    """Decode an image to RGB, upright as its EXIF orientation says, transparency shown on white.

    Raises InvalidRequest when it is no image, damaged, or has more than `max_px` pixels.
    """
    return _flattened(_decode(data, field, max_px), "white").convert("RGB")


def decode_mask(data: bytes, field: str, max_px: int) -> Image.Image:
    """Decode a mask to L, 255 = repaint; what is transparent is kept, as in a painting program's layer.

    Raises InvalidRequest as `decode_image` does.
    """
    return _flattened(_decode(data, field, max_px), "black").convert("L")


def decode_cutout(data: bytes, field: str, max_px: int) -> Image.Image:
    """Decode a mask that is an image with holes to L, 255 = repaint: what is transparent is repainted.

    Raises InvalidRequest as `decode_image` does, and for an image without transparency.
    """
    picture = _decode(data, field, max_px)
    if not picture.has_transparency_data:
        raise InvalidRequest(field, "has no transparency; what is to be repainted must be transparent")
    return ImageOps.invert(picture.convert("RGBA").getchannel("A"))


def _decode(data: bytes, field: str, max_px: int) -> Image.Image:
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as file:
            _check_header(file, field, max_px)
            file.load()
            return _eight_bits(ImageOps.exif_transpose(file), field)
    except (InvalidRequest, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InvalidRequest(field, f"is not an image; readable are {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise InvalidRequest(field, f"has too many pixels; at most {max_px} are allowed") from error
    # Decoders raise errors of any type for a damaged file.
    except Exception as error:
        raise InvalidRequest(field, "is damaged or incomplete and cannot be decoded") from error


def _check_header(file: Image.Image, field: str, max_px: int) -> None:
    width, height = file.size
    if width * height > max_px:
        raise InvalidRequest(field, f"has {width} x {height} pixels; at most {max_px} in all are allowed")
    if max(width, height) > MAX_SIDE_PX:
        raise InvalidRequest(field, f"is {width} x {height} pixels; at most {MAX_SIDE_PX} a side are allowed")


def _eight_bits(image: Image.Image, field: str) -> Image.Image:
    if image.mode == "F":
        raise InvalidRequest(field, "has floating-point pixels, of unknown range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        sixteen = np.asarray(image).astype(np.int64).clip(0, 65535)  # (h, w)
        return Image.fromarray((sixteen >> 8).astype(np.uint8))
    return image


def _flattened(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)
