"""Restores the pixels that a mask keeps, in results of the generated size or of the upload's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from core.generation.events import Picture
from core.generation.request import GenerationRequest
from core.pixels.upload import UploadedImage, pixels_of
from gateway.media.encoding import OutputFormat, encode_result, png_metadata
from gateway.media.png import png_of_strips
from gateway.media.reading.costs import PIXEL_BYTES
from gateway.media.reading.decoded_kinds import IMAGE, opaque
from gateway.media.reading.decoding import BUDGET, WHOLE_PX, loaded, opened
from gateway.media.reading.strips import strips

_COPIES = 5
"""Upload, mask, generated image at the upload's size, composed image, and one more during conversions."""


def on_white(picture: Picture) -> Picture:
    """Return a generated image as RGB, transparency shown on white, as uploads are; itself if it is RGB. Blocks."""
    return picture if picture.image.mode == "RGB" else replace(picture, image=opaque(picture.image))


def with_kept_pixels(request: GenerationRequest, picture: Picture) -> Picture:
    """Return a generated image as RGB, with its input's pixels where the mask is black, blended where grey. Blocks."""
    picture = on_white(picture)
    assert request.image is not None
    assert request.mask is not None
    kept, mask = pixels_of(request.image), pixels_of(request.mask)
    return replace(picture, image=Image.composite(picture.image, kept, mask))


def inpainted_png(request: GenerationRequest, picture: Picture, upload: UploadedImage, mask: UploadedImage) -> bytes:
    """Put a generated image into its upload; return the PNG. Blocks."""
    px = upload.width * upload.height
    if px > WHOLE_PX:
        # The whole budget, so nothing else is decoded meanwhile: mask and upload are in memory at full size.
        with BUDGET.of(BUDGET.total_bytes):
            return png_of_strips(
                upload.size, _composed_strips(picture.image, upload, mask), png_metadata(request, picture)
            )
    with BUDGET.of(px * PIXEL_BYTES * _COPIES):
        return encode_result(request, _composed(picture, upload, mask), OutputFormat.PNG, quality=100)


def inpainted(picture: Picture, upload: UploadedImage, mask: UploadedImage) -> Picture:
    """Put a generated image into its upload, which is of a size that may be upscaled. Blocks."""
    with BUDGET.of(upload.width * upload.height * PIXEL_BYTES * _COPIES):
        return _composed(picture, upload, mask)


def _composed(picture: Picture, upload: UploadedImage, mask: UploadedImage) -> Picture:
    generated = picture.image.resize(upload.size, Image.Resampling.LANCZOS)
    return replace(picture, image=Image.composite(generated, upload.open(), mask.open()))


def _composed_strips(generated: Image.Image, upload: UploadedImage, mask: UploadedImage) -> Iterator[Image.Image]:
    repainted, scale = mask.open(), generated.height / upload.height
    with opened(upload.file, "image") as file, loaded(file, "image", upload.size):
        convert = IMAGE.converter(file)
        for top, part in strips(file):
            bottom = top + part.height
            # The matching rows of the generated image.
            rows = (0, top * scale, generated.width, min(bottom * scale, generated.height))
            new = generated.resize(part.size, Image.Resampling.LANCZOS, rows)
            yield Image.composite(new, convert(part), repainted.crop((0, top, part.width, bottom)))
