"""How an image is fitted to a size of different proportions; docs/images.md has the rule for callers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from PIL import Image

Size = tuple[int, int]
"""Width and height in pixels."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


class Fit(StrEnum):
    CROP = "crop"
    """Fill the size and cut off the excess equally at both ends."""
    PAD = "pad"
    """Show the whole image between bars."""
    STRETCH = "stretch"
    """Change the proportions."""


@dataclass(frozen=True)
class Placement:
    """Which part of an image is used, and where it goes in the new size."""

    box: Box
    size: Size
    """What the part is resized to."""
    at: tuple[int, int]
    """Its left upper corner in the new size."""

    def reduced(self, factors: tuple[int, int]) -> Placement:
        """Return the placement for the same image after its sides were divided by `factors`."""
        left, top, right, bottom = self.box
        across, down = factors
        return replace(self, box=(left / across, top / down, right / across, bottom / down))

    def whole(self, full: Size) -> Size:
        """Return the size that the whole image, of size `full`, would be resized to if nothing were cut off."""
        left, top, right, bottom = self.box
        return round(self.size[0] * full[0] / (right - left)), round(self.size[1] * full[1] / (bottom - top))


def placement(full: Size, size: Size, fit: Fit) -> Placement:
    """Return how an image of size `full` is fitted into `size`, as Pillow's `ImageOps.fit` and `pad` do."""
    across, down = size[0] / full[0], size[1] / full[1]
    if fit is Fit.CROP and across != down:
        scale = max(across, down)
        # Rounding can put the box slightly outside of the image, which Pillow refuses.
        left, top = (max(0.0, (whole - side / scale) / 2) for whole, side in zip(full, size, strict=True))
        return Placement((left, top, full[0] - left, full[1] - top), size, (0, 0))
    if fit is Fit.PAD and across != down:
        scale = min(across, down)
        inner = (max(1, round(full[0] * scale)), max(1, round(full[1] * scale)))
        return Placement((0, 0, *full), inner, (round((size[0] - inner[0]) / 2), round((size[1] - inner[1]) / 2)))
    return Placement((0, 0, *full), size, (0, 0))


def placed(
    image: Image.Image, place: Placement, size: Size, resampling: Image.Resampling, background: str
) -> Image.Image:
    """Return the image fitted to `size`, or unchanged if it fits already. `background` is the colour of bars."""
    left, top, right, bottom = place.box
    whole = (left, top, right, bottom) == (0, 0, image.width, image.height) and place.size == image.size
    part = image if whole else image.resize(place.size, resampling, place.box)
    if place.size == size:
        return part
    canvas = Image.new(image.mode, size, background)
    canvas.paste(part, place.at)
    return canvas
