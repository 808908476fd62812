"""Masks as in the web UI: soft edges, a choice of what to start from, and only the masked part in full resolution."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFilter, ImageOps

from api.a1111.requests.forms import ImageForm
from core.errors import InvalidRequest
from core.generation.events import Picture
from core.pixels.fitting import Fit, Size
from core.pixels.upload import UploadedImage
from gateway.media.encoding import encode_preview
from gateway.media.reading.costs import PIXEL_BYTES
from gateway.media.reading.decoded_kinds import IMAGE, MASK
from gateway.media.reading.decoding import BUDGET, uploaded

FITS = (Fit.STRETCH, Fit.CROP, Fit.PAD, Fit.STRETCH)
"""Indexed by `resize_mode`; in the web UI, the last resizes latents."""
MOST_REGION_PX = 2**24
"""The largest image of which a part can be generated: the whole of it, its mask and the result are in memory."""
_COPIES = 5
AROUND, ITSELF = 0, 1
"""Values of `inpainting_fill` that start from the image's own colours: those around the mask, or those under it."""
GREY = (128, 128, 128)
"""About what empty latents decode to."""
_SPREADS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2))
"""Blur radii in pixels, and how often each is laid over the larger ones, as in the web UI's `modules/masking.py`."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Repainting:
    """An image, a soft mask of its size, and the box that is generated; None for all of it."""

    image: UploadedImage
    mask: UploadedImage
    box: Box | None
    fit: Fit

    @property
    def answered_px(self) -> int:
        """Pixels of each result, where results are larger than what is generated; else 0."""
        return 0 if self.box is None else self.image.width * self.image.height

    @property
    def part(self) -> tuple[UploadedImage, UploadedImage]:
        """The part of image and mask that is generated. Blocks."""
        if self.box is None:
            return self.image, self.mask
        with BUDGET.of(_bytes(self.image)):
            return _again(self.image.open().crop(self.box)), _again(self.mask.open().crop(self.box))

    def composed(self, picture: Picture) -> Image.Image:
        """Return a generated image with the input's pixels where the mask is black. Blocks."""
        if self.box is None:
            kept, mask = (each.resized(*picture.image.size, self.fit).open() for each in (self.image, self.mask))
            return Image.composite(picture.image, kept, mask)
        with BUDGET.of(_bytes(self.image)):
            whole, mask = self.image.open(), self.mask.open().crop(self.box)
            generated = picture.image.resize(mask.size, Image.Resampling.LANCZOS)
            whole.paste(generated, self.box[:2], mask)
            return whole


def repainting_of(form: ImageForm, image: UploadedImage, mask: UploadedImage, fit: Fit) -> Repainting:
    """Return how a form's mask is repainted. Blocks. Raises InvalidRequest."""
    blurs = [radius * side / full for radius, side, full in zip(form.blurs, image.size, mask.size, strict=True)]
    with BUDGET.of(image.width * image.height * PIXEL_BYTES):
        pixels = mask.resized(*image.size).open()
        soft = _soft(ImageOps.invert(pixels) if form.inpainting_mask_invert else pixels, blurs)
        box = _box_around(soft, form) if form.inpaint_full_res else None
        if box is not None and image.width * image.height > MOST_REGION_PX:
            limit = f"at most {MOST_REGION_PX} pixels; set it to false, or send a part of the image"
            raise InvalidRequest("inpaint_full_res", f"is for images of {limit}")
        return Repainting(image, _again(soft), box, fit)


def filled(image: UploadedImage, mask: UploadedImage, size: Size, fit: Fit, fill: int) -> UploadedImage:
    """Return the image at the generated size, its masked part filled with what it starts from. Blocks."""
    with BUDGET.of(size[0] * size[1] * PIXEL_BYTES * _COPIES):
        pixels, where = image.resized(*size, fit).open(), mask.resized(*size, fit).open()
        start = _spread(pixels, where) if fill == AROUND else Image.new("RGB", size, GREY)
        return _again(Image.composite(start, pixels, where))


def _soft(mask: Image.Image, blurs: list[float]) -> Image.Image:
    return mask.filter(ImageFilter.GaussianBlur((blurs[0], blurs[1]))) if any(blurs) else mask


def _box_around(mask: Image.Image, form: ImageForm) -> Box | None:
    """Return the box around a mask, in the proportions of the generated size; None for an empty mask."""
    box = mask.getbbox()
    if box is None:
        return None
    padding, (width, height) = form.inpaint_full_res_padding, mask.size
    left, top = max(0, box[0] - padding), max(0, box[1] - padding)
    right, bottom = min(width, box[2] + padding), min(height, box[3] + padding)
    across, down = right - left, bottom - top
    if form.width is not None and form.height is not None:
        across = max(across, min(width, round(down * form.width / form.height)))
        down = max(down, min(height, round(across * form.height / form.width)))
    left = min(max(0, (left + right - across) // 2), width - across)
    top = min(max(0, (top + bottom - down) // 2), height - down)
    return left, top, left + across, top + down


def _spread(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Return the colours around a masked part, blurred into it from all sides."""
    seen = image.convert("RGBA")
    seen.putalpha(ImageOps.invert(mask))
    seen = seen.convert("RGBa")
    colours = Image.new("RGBA", image.size)
    for radius_px, times in _SPREADS:
        blurred = seen.filter(ImageFilter.GaussianBlur(radius_px)).convert("RGBA")
        for _ in range(times):
            colours.alpha_composite(blurred)
    return colours.convert("RGB")


def _bytes(image: UploadedImage) -> int:
    return image.width * image.height * PIXEL_BYTES * _COPIES


def _again(image: Image.Image) -> UploadedImage:
    """Return an image as an upload, which is kept compressed while it waits."""
    field, kind = ("mask", MASK) if image.mode == "L" else ("init_images", IMAGE)
    return uploaded(encode_preview(image), field, image.width * image.height, kind)
