"""Masks from painting, and images extended at their sides. White is repainted."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageChops, ImageFilter

PAINTED_FROM = 128
"""The opacity from which a pixel counts as painted: the brush's edges are soft, masks are not."""
BLUR_PX = 24


def painted(layers: Sequence[Image.Image], size: tuple[int, int]) -> Image.Image:
    """Return the mask of what is painted on any layer."""
    mask = Image.new("L", size)
    for layer in layers:
        opacity = layer.convert("RGBA").getchannel("A").resize(size)
        mask = ImageChops.lighter(mask, opacity.point([255 * (value >= PAINTED_FROM) for value in range(256)]))
    return mask


def painting(mask: Image.Image, colour: str) -> Image.Image:
    """Return a layer that is painted where a mask is white."""
    layer = Image.new("RGBA", mask.size, colour)
    layer.putalpha(mask.convert("L"))
    return layer


def extended(image: Image.Image, mask: Image.Image, borders: tuple[int, ...]) -> tuple[Image.Image, Image.Image]:
    """Return image and mask with borders (left, top, right, bottom, in pixels) that are to be painted.

    In the borders, the model starts from the image itself, stretched and blurred.
    """
    left, top, right, bottom = borders
    if not any(borders):
        return image, mask
    size = image.width + left + right, image.height + top + bottom
    wide = image.resize(size).filter(ImageFilter.GaussianBlur(BLUR_PX))
    wide.paste(image, (left, top))
    wide_mask = Image.new("L", size, 255)
    wide_mask.paste(mask, (left, top))
    return wide, wide_mask
