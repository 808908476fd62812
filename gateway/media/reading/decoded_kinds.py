"""What files are decoded to: RGB images and L masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from gateway.media.reading.colours import Convert, to_srgb


@dataclass(frozen=True)
class DecodedKind:
    """How to decode a file."""

    _convert: Convert
    mode: str
    resampling: Image.Resampling
    background: str
    """The colour of bars when the image is padded."""
    needs_transparency: bool = False

    def converter(self, file: Image.Image) -> Convert:
        """Return a function that converts any strip of a file."""
        colours = to_srgb(file) if self.mode == "RGB" else None
        return lambda part: self._convert(_eight_bits(part) if colours is None else colours(_eight_bits(part)))


def _flattened(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)


def opaque(image: Image.Image) -> Image.Image:
    """Return an image as RGB, transparency shown on white."""
    return _flattened(image, "white").convert("RGB")


IMAGE = DecodedKind(opaque, "RGB", Image.Resampling.LANCZOS, "white")
"""RGB, transparency shown on white."""
CONTROL = DecodedKind(opaque, "RGB", Image.Resampling.LANCZOS, "black")
"""As IMAGE, but padded with black, which means nothing in edges, depths and poses."""
# No smoothing: a mask's edges stay hard, so that nothing outside of it is slightly repainted.
MASK = DecodedKind(lambda part: _flattened(part, "black").convert("L"), "L", Image.Resampling.NEAREST, "black")
"""L, 255 = repaint; transparent parts are kept, as in a painting program's layer."""
CUTOUT = DecodedKind(
    lambda part: ImageOps.invert(part.convert("RGBA").getchannel("A")),
    "L",
    Image.Resampling.NEAREST,
    "black",
    needs_transparency=True,
)
"""A mask from an image's transparency: L, 255 = repaint where the image is transparent."""


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    sixteen = np.asarray(image).astype(np.int64).clip(0, 65535)  # (h, w)
    grey = Image.fromarray((sixteen >> 8).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(sixteen == clear, 0, 255).astype(np.uint8)))
    return grey
