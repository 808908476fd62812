"""What files are decoded to: RGB images and L masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from gateway.media.reading.colours import Convert, to_srgb


@dataclass(frozen=True)
class DecodedKind:
    """What a file is decoded to."""

    _convert: Convert
    mode: str
    resampling: Image.Resampling
    background: str
    """The colour of bars beside it."""
    needs_transparency: bool = False

    def converter(self, file: Image.Image) -> Convert:
        """Return what converts any strip of a file."""
        colours = to_srgb(file) if self.mode == "RGB" else None
        return lambda part: self._convert(_eight_bits(part) if colours is None else colours(_eight_bits(part)))


def _flattened(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer)


def opaque(image: Image.Image) -> Image.Image:
    """Return an image as it is seen on white, RGB."""
    return _flattened(image, "white").convert("RGB")


IMAGE = DecodedKind(opaque, "RGB", Image.Resampling.LANCZOS, "white")
"""RGB, transparency shown on white."""
CONTROL = DecodedKind(opaque, "RGB", Image.Resampling.LANCZOS, "black")
"""The same for edges, depths and poses, of which black says nothing."""
# A mask stays hard: what its author did not paint must not be repainted a little.
MASK = DecodedKind(lambda part: _flattened(part, "black").convert("L"), "L", Image.Resampling.NEAREST, "black")
"""L, 255 = repaint; what is transparent is kept, as in a painting program's layer."""
CUTOUT = DecodedKind(
    lambda part: ImageOps.invert(part.convert("RGBA").getchannel("A")),
    "L",
    Image.Resampling.NEAREST,
    "black",
    needs_transparency=True,
)
"""An image with holes, to L, 255 = repaint: what is transparent is repainted."""


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    sixteen = np.asarray(image).astype(np.int64).clip(0, 65535)  # (h, w)
    grey = Image.fromarray((sixteen >> 8).astype(np.uint8))
    clear = image.info.get("transparency")
    if clear is not None:
        grey.putalpha(Image.fromarray(np.where(sixteen == clear, 0, 255).astype(np.uint8)))
    return grey
