"""Uploaded files, as their callers sent them, and the images among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from mmap import mmap
from typing import Annotated, Self

from PIL import Image
from pydantic import InstanceOf, WithJsonSchema

from core.pixels.fitting import Fit, Size

Decode = Callable[[bytes, Size, Fit], Image.Image]
"""Decodes a file's pixels at a size. Blocks."""


@dataclass(frozen=True)
class UploadedFile:
    """A file that is known to be complete, and the size at which it is to be opened."""

    _file: bytes | mmap = field(repr=False)
    """In memory, or for a large file mapped from a temporary one."""
    size: Size
    """The size of what `open` returns, upright."""
    fit: Fit = field(default=Fit.STRETCH, kw_only=True)
    """How it is fitted to that size."""

    @property
    def file(self) -> bytes:
        """The file as it came."""
        return bytes(self._file)

    @property
    def width(self) -> int:
        return self.size[0]

    @property
    def height(self) -> int:
        return self.size[1]

    def resized(self, width: int, height: int, fit: Fit = Fit.STRETCH) -> Self:
        """Return the same file, to be opened at another size."""
        return replace(self, size=(width, height), fit=fit)


@dataclass(frozen=True)
class UploadedImage(UploadedFile):
    """An uploaded image, still compressed: its pixels exist only in what `open` returns.

    A request may wait for minutes, and pixels take up to a thousand times the memory of their file.
    """

    _decode: Decode = field(repr=False, compare=False)

    def open(self) -> Image.Image:
        """Return its pixels: RGB, or L for a mask. Blocks until there is memory for them."""
        return self._decode(self.file, self.size, self.fit)


Pixels = Annotated[
    InstanceOf[Image.Image] | InstanceOf[UploadedImage], WithJsonSchema({"type": "string", "format": "binary"})
]
"""An image of a request: usually an upload in the gateway, always pixels in the runner."""


def pixels_of(image: Image.Image | UploadedImage) -> Image.Image:
    """Return the pixels of an image of a request. Blocks."""
    return image.open() if isinstance(image, UploadedImage) else image
