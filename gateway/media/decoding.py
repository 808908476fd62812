"""Decode uploaded files to the two forms that the rest of the system uses: RGB images and L masks.

Whatever a file claims, nothing is decoded before its header has been checked against the limits, and all that is being
decoded at once shares one budget of memory. A file is decoded twice: when it comes, to see that it is whole, and when
its pixels are needed. Of large files the pixels are never there in colour and full size: they are converted and reduced
strip by strip.

Colour profiles are not applied. Of an animation, the first frame is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InvalidRequest
from core.upload import Upload
from gateway.media.budget import Budget
from gateway.media.costs import PIXEL_BYTES, STRIP_BYTES, decoding_bytes
from gateway.media.strips import reduced, upright_size

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Decoders that an untrusted file may reach."""
MAX_SIDE_PX = 32768
MAX_IMAGES = 16
"""Files in one field, whatever the model allows."""
WHOLE_PX = 2**23
"""Up to so many pixels, twice what any model takes, an image is resized in one step; a larger one is reduced first."""
BUDGET = Budget(320 * 2**20)
"""Enough for one PNG of 64 megapixels in full size, and for many of a few."""


@dataclass(frozen=True)
class Kind:
    """What a file is decoded to."""

    _convert: Callable[[Image.Image], Image.Image]
    mode: str
    resampling: Image.Resampling
    needs_transparency: bool = False

    def converted(self, part: Image.Image) -> Image.Image:
        """Convert any strip of a file."""
        return self._convert(_eight_bits(part))


def _flattened(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)


IMAGE = Kind(lambda part: _flattened(part, "white").convert("RGB"), "RGB", Image.Resampling.LANCZOS)
"""RGB, transparency shown on white."""
# A mask stays hard: what its author did not paint must not be repainted a little.
MASK = Kind(lambda part: _flattened(part, "black").convert("L"), "L", Image.Resampling.NEAREST)
"""L, 255 = repaint; what is transparent is kept, as in a painting program's layer."""
CUTOUT = Kind(
    lambda part: ImageOps.invert(part.convert("RGBA").getchannel("A")),
    "L",
    Image.Resampling.NEAREST,
    needs_transparency=True,
)
"""An image with holes, to L, 255 = repaint: what is transparent is repainted."""


def uploaded_field(field: str, files: list[bytes], max_px: int) -> Upload | list[Upload]:
    """Check the files of one field of a form; only `images` takes several, of `max_px` pixels together.

    Blocks. Raises InvalidRequest.
    """
    if not files and field != "images":
        raise InvalidRequest(field, "is an empty list")
    if len(files) > (MAX_IMAGES if field == "images" else 1):
        raise InvalidRequest(field, f"has {len(files)} files, more than it takes")
    kind = MASK if field == "mask" else IMAGE
    uploads: list[Upload] = []
    for file in files:
        left = max_px - sum(upload.width * upload.height for upload in uploads)
        uploads.append(uploaded(file, field, left, kind))
    return uploads if field == "images" else uploads[0]


def uploaded(data: bytes, field: str, max_px: int, kind: Kind = IMAGE, whole: bool = False) -> Upload:
    """Check that a file can be decoded, upright as its EXIF orientation says; `whole`, in its full size. Blocks.

    Raises InvalidRequest when it is no image, damaged, has more than `max_px` pixels, or would take too much memory.
    """
    with _readable(field, max_px), Image.open(BytesIO(data), formats=FORMATS) as file:
        _check_header(file, field, max_px)
        full_size = file.size
        with loaded(file, field, full_size if whole else (1, 1)):
            if file.mode == "F":
                raise InvalidRequest(field, "has floating-point pixels, of unknown range; save it with 8 or 16 bits")
            if kind.needs_transparency and not file.has_transparency_data:
                raise InvalidRequest(field, "has no transparency; what is to be repainted must be transparent")
        return Upload(data, upright_size(file, full_size), partial(_decoded, kind, field))


@contextmanager
def loaded(file: Image.Image, field: str, wanted: tuple[int, int], extra_bytes: int = 0) -> Iterator[None]:
    """Load a file's pixels as they are stored, and hold the memory for them, and for `extra_bytes`, in the block.

    A large JPEG is loaded smaller, but with at least twice the pixels `wanted`. Raises InvalidRequest when one file
    needs more than there is for all.
    """
    full_size = file.size
    if full_size[0] * full_size[1] > WHOLE_PX:
        # The longer side both times, since the file may lie on its side.
        file.draft(None, (2 * max(wanted), 2 * max(wanted)))
    needed = decoding_bytes(file, full_size)
    if needed > BUDGET.total_bytes:
        most = full_size[0] * full_size[1] * BUDGET.total_bytes // needed
        raise InvalidRequest(
            field,
            f"has {full_size[0]} x {full_size[1]} pixels; of a {file.format} file like this, at most {most} are "
            "allowed, since all of them must be decoded at once",
        )
    with BUDGET.of(needed + extra_bytes + STRIP_BYTES):
        file.load()
        yield


def _decoded(kind: Kind, field: str, data: bytes, size: tuple[int, int]) -> Image.Image:
    with opened(data, field) as file, loaded(file, field, size, _converted_bytes(kind, file)):
        factors = (1, 1) if kind.mode == "L" else _factors(upright_size(file, file.size), size)
        image, box = reduced(file, factors, kind.mode, kind.converted)
        return image if image.size == size else image.resize(size, kind.resampling, box)


def _converted_bytes(kind: Kind, file: Image.Image) -> int:
    full_px = file.width * file.height
    return full_px if kind.mode == "L" else min(full_px, 2 * WHOLE_PX) * PIXEL_BYTES


def _factors(full: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return what to divide the sides of a large image by: enough is left for good resizing, but never too much."""
    if full[0] * full[1] <= WHOLE_PX:
        return 1, 1
    across, down = (max(1, side // (2 * small)) for side, small in zip(full, wanted, strict=True))
    while full[0] * full[1] > 2 * WHOLE_PX * across * down:
        across, down = across + (across <= down), down + (down <= across)
    return across, down


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        sixteen = np.asarray(image).astype(np.int64).clip(0, 65535)  # (h, w)
        return Image.fromarray((sixteen >> 8).astype(np.uint8))
    return image


@contextmanager
def opened(data: bytes, field: str) -> Iterator[Image.Image]:
    """Open a file that was checked before."""
    with _readable(field, 0), Image.open(BytesIO(data), formats=FORMATS) as file:
        yield file


@contextmanager
def _readable(field: str, max_px: int) -> Iterator[None]:
    try:
        yield
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
