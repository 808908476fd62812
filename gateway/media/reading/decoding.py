"""Decode uploaded files to the two forms that the rest of the system uses: RGB images and L masks.

Nothing is decoded before its header has been checked against the limits, and all files being decoded share one memory
budget. A file is decoded twice: on arrival, to see that it is whole, and when its pixels are needed. Large files are
converted and reduced strip by strip, so they are never in memory in colour at full size.

Only the first frame of an animation is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import pillow_heif
from PIL import Image, UnidentifiedImageError

from core.errors import InvalidRequest
from core.pixels.fitting import Fit, placed, placement
from core.pixels.upload import UploadedImage
from gateway.media.reading.budget import Budget
from gateway.media.reading.costs import PIXEL_BYTES, STRIP_BYTES, decoding_bytes
from gateway.media.reading.decoded_kinds import CONTROL, CUTOUT, IMAGE, MASK, DecodedKind
from gateway.media.reading.png_files import scale_transparency, without_bad_metadata
from gateway.media.reading.spooling import spooled
from gateway.media.reading.strips import reduced, strips, upright_size

pillow_heif.register_heif_opener()
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""Decoders that an untrusted file may reach."""
MAX_SIDE_PX = 32768
MAX_IMAGES = 16
"""Files in one field, whatever the model allows."""
REPAINTED = 255
"""A mask's value for pixels that are fully repainted."""
WHOLE_PX = 2**23
"""Up to so many pixels, twice what any model takes, images are resized in one step; larger ones are reduced first."""
BUDGET = Budget(320 * 2**20)
"""Enough for one PNG of 64 megapixels at full size, or for many small ones."""
_KINDS = {"mask": MASK, "control_image": CONTROL}
"""How to decode a field's files; all others are IMAGE."""


def uploaded_field(field: str, files: list[bytes], max_px: int) -> UploadedImage | list[UploadedImage]:
    """Check the files of one field of a form; only `images` takes several, of `max_px` pixels together.

    Blocks. Raises InvalidRequest.
    """
    if not files and field != "images":
        raise InvalidRequest(field, "is an empty list")
    uploads = uploaded_files(files, field, max_px, _KINDS.get(field, IMAGE), most=most_files(field))
    return list(uploads) if field == "images" else uploads[0]


def most_files(field: str) -> int:
    """Return how many files a field of a form takes."""
    return MAX_IMAGES if field == "images" else 1


def check_count(field: str, count: int, most: int) -> None:
    """Raise InvalidRequest for more files than a field takes."""
    if count > most:
        allowed = f"at most {most} are" if most > 1 else "only one is"
        raise InvalidRequest(field, f"{count} were given; {allowed} allowed")


def uploaded_files(
    files: Sequence[bytes],
    field: str,
    max_px: int,
    kind: DecodedKind = IMAGE,
    *,
    most: int = MAX_IMAGES,
    whole: bool = False,
) -> tuple[UploadedImage, ...]:
    """Check files that belong together, `max_px` pixels in all, each as in `uploaded`. Blocks.

    Raises InvalidRequest, also for more than `most`.
    """
    check_count(field, len(files), most)
    uploads: list[UploadedImage] = []
    for file in files:
        left_px = max_px - sum(upload.width * upload.height for upload in uploads)
        uploads.append(uploaded(file, field, left_px, kind, whole))
    return tuple(uploads)


def uploaded(data: bytes, field: str, max_px: int, kind: DecodedKind = IMAGE, whole: bool = False) -> UploadedImage:
    """Check that a file can be decoded; `whole` checks it at full size. The upload is upright by its EXIF data. Blocks.

    Raises InvalidRequest when it is no image, damaged, has more than `max_px` pixels, or would take too much memory.
    """
    data = without_bad_metadata(data)
    with opened(data, field, max_px) as file:
        check_header(file, field, max_px)
        full_size = file.size
        with loaded(file, field, full_size if whole else (1, 1)):
            if file.mode == "F":
                raise InvalidRequest(field, "has floating-point pixels, of unknown range; save it with 8 or 16 bits")
            if kind.needs_transparency and not file.has_transparency_data:
                raise InvalidRequest(field, "has no transparency; what is to be repainted must be transparent")
            # Some decoders read modes that cannot be converted.
            kind.converter(file)(file.crop((0, 0, 1, 1)))
            upright = upright_size(file, full_size)
        return UploadedImage(spooled(data), upright, partial(_decoded, kind, field))


@contextmanager
def loaded(file: Image.Image, field: str, wanted: tuple[int, int], extra_bytes: int = 0) -> Iterator[None]:
    """Load a file's pixels as stored; hold the budget for them and for `extra_bytes` during the block.

    A large JPEG is loaded at a reduced size, at least twice the one `wanted`. Raises InvalidRequest when the file needs
    more than the whole budget.
    """
    full_size = file.size
    if full_size[0] * full_size[1] > WHOLE_PX:
        # The longer side for both, since the file may be stored rotated.
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


def hole_in(data: bytes, field: str, max_px: int) -> UploadedImage | None:
    """Return a mask of the fully transparent parts of an image, or None if it has none. Blocks.

    The image must have been checked already.
    """
    with opened(data, field) as file:
        if not file.has_transparency_data:
            return None
        convert = CUTOUT.converter(file)
        with loaded(file, field, file.size):
            if all(convert(part).getextrema()[1] != REPAINTED for _, part in strips(file)):
                return None
    return uploaded(data, field, max_px, CUTOUT)


def check_header(file: Image.Image, field: str, max_px: int) -> None:
    """Raise InvalidRequest for an opened file with too many pixels in all or in a row."""
    width, height = file.size
    if width * height > max_px:
        raise InvalidRequest(field, f"has {width} x {height} pixels; at most {max_px} in all are allowed")
    if max(width, height) > MAX_SIDE_PX:
        raise InvalidRequest(field, f"is {width} x {height} pixels; at most {MAX_SIDE_PX} a side are allowed")


def _decoded(kind: DecodedKind, field: str, data: bytes, size: tuple[int, int], fit: Fit) -> Image.Image:
    with opened(data, field) as file:
        # Its orientation is only known once it is loaded (asking would load a PNG), so allow for both.
        longest = max(max(placement(full, size, fit).whole(full)) for full in (file.size, file.size[::-1]))
        with loaded(file, field, (longest, longest), _converted_bytes(kind, file)):
            upright = upright_size(file, file.size)
            place = placement(upright, size, fit)
            factors = (1, 1) if kind.mode == "L" else _factors(upright, place.whole(upright))
            image = reduced(file, factors, kind.mode, kind.converter(file))
            return placed(image, place.reduced(factors), size, kind.resampling, kind.background)


def _converted_bytes(kind: DecodedKind, file: Image.Image) -> int:
    full_px = file.width * file.height
    return full_px if kind.mode == "L" else min(full_px, 2 * WHOLE_PX) * PIXEL_BYTES


def _factors(full: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Return by what to divide a large image's sides: enough pixels remain for good resizing, but a bounded number."""
    if full[0] * full[1] <= WHOLE_PX:
        return 1, 1
    across, down = (max(1, side // (2 * small)) for side, small in zip(full, wanted, strict=True))
    while full[0] * full[1] > 2 * WHOLE_PX * across * down:
        across, down = across + (across <= down), down + (down <= across)
    return across, down


@contextmanager
def opened(data: bytes, field: str, max_px: int = 0) -> Iterator[Image.Image]:
    """Open a file; any error within the block becomes an InvalidRequest."""
    with _readable(field, max_px), Image.open(BytesIO(data), formats=FORMATS) as file:
        scale_transparency(file, data)
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
