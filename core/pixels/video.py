"""A video as its caller sent it: a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from mmap import mmap
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import InstanceOf, WithJsonSchema

from core.pixels.fitting import Fit, Size, placed, placement

Mode = Literal["RGB", "L"]
_RESAMPLING = {"RGB": Image.Resampling.LANCZOS, "L": Image.Resampling.NEAREST}
REPAINTED_FROM = 128
"""A mask is black or white; what its encoder blurred is one of them."""


@dataclass(frozen=True)
class Video:
    """An uploaded video, still compressed and known to be whole.

    Its frames exist only in what `open` returns: a minute of them takes gigabytes, and a request may wait for long.
    """

    _file: bytes | mmap = field(repr=False)
    """In memory, or of a large one the contents of a temporary file."""
    size: Size
    """Of the frames that `open` returns, upright."""
    num_frames: int
    """How many `open` returns: all, or the first of them."""
    fps: float
    """Frames a second, as the file says; 0 where it does not."""
    mode: Mode = "RGB"
    """L for a mask."""
    background: Literal["black", "white"] = "white"
    """The colour of bars beside it."""
    fit: Fit = Fit.STRETCH
    """How its frames come to that size."""
    _frames: tuple[Image.Image, ...] | None = field(default=None, repr=False, compare=False)
    """What `open` returns, where it is there already."""

    @classmethod
    def of(cls, file: bytes, description: Mapping[str, Any]) -> Video:
        """Return the video of a file, described as by `description`. Raises KeyError or ValueError for another one."""
        size, fit = tuple(description["size"]), Fit(description["fit"])
        return cls(file, **{**description, "size": size, "fit": fit})

    @property
    def description(self) -> dict[str, Any]:
        """Return all but the file, as JSON."""
        names = ("size", "num_frames", "fps", "mode", "background", "fit")
        return {name: getattr(self, name) for name in names}

    @property
    def file(self) -> bytes:
        """The file as it came."""
        return bytes(self._file)

    @property
    def media_type(self) -> str:
        from core.pixels.video_frames import media_type_of

        return media_type_of(self._file)

    @property
    def width(self) -> int:
        return self.size[0]

    @property
    def height(self) -> int:
        return self.size[1]

    def resized(self, width: int, height: int, fit: Fit = Fit.STRETCH) -> Video:
        """Return the same file, to be opened in another size."""
        return replace(self, size=(width, height), fit=fit)

    def first(self, num_frames: int) -> Video:
        """Return the same file, of which only the first frames are opened."""
        return replace(self, num_frames=num_frames)

    def frames(self) -> Iterator[Image.Image]:
        """Decode its frames one by one. Blocks. Raises UnreadableVideo, which a checked file does not."""
        # Most requests have no videos, and not every machine that runs one has FFmpeg.
        from core.pixels.video_frames import upright_frames

        for image in islice(upright_frames(self.file, self.background), self.num_frames):
            seen = image.convert("L").point(_hard) if self.mode == "L" else image
            place = placement(seen.size, self.size, self.fit)
            yield placed(seen, place, self.size, _RESAMPLING[self.mode], self.background)

    def open(self) -> list[Image.Image]:
        """Return its frames, as `mode` says. Blocks, unless it was opened before."""
        return list(self.frames() if self._frames is None else self._frames)

    def opened(self, frames: Iterable[Image.Image]) -> Video:
        """Return the same with its frames, which `open` then returns at once."""
        return replace(self, _frames=tuple(frames))


def _hard(shade: int) -> int:
    return 255 if shade >= REPAINTED_FROM else 0


UploadedVideo = Annotated[InstanceOf[Video], WithJsonSchema({"type": "string", "format": "binary"})]
