"""A video as its caller sent it: a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import InstanceOf, WithJsonSchema

from core.pixels.fitting import Fit, placed, placement
from core.pixels.upload import UploadedFile

Mode = Literal["RGB", "L"]
_RESAMPLING = {"RGB": Image.Resampling.LANCZOS, "L": Image.Resampling.NEAREST}
REPAINTED_FROM = 128
"""A mask is black or white; what its encoder blurred is one of them."""


@dataclass(frozen=True)
class UploadedVideo(UploadedFile):
    """A video that is still compressed.

    Its frames exist only in what `open` returns: a minute of them takes gigabytes, and a request may wait for long.
    """

    num_frames: int
    """How many `open` returns: all, or the first of them."""
    fps: float
    """Frames a second, as the file says; 0 where it does not."""
    mode: Mode = "RGB"
    """L for a mask."""
    background: Literal["black", "white"] = "white"
    """The colour of bars beside it."""
    _frames: tuple[Image.Image, ...] | None = field(default=None, repr=False, compare=False)
    """What `open` returns, where it is there already."""

    @classmethod
    def of(cls, file: bytes, description: Mapping[str, Any]) -> UploadedVideo:
        """Return the video of a file, described as by `description`. Raises KeyError or ValueError for another one."""
        size, fit = tuple(description["size"]), Fit(description["fit"])
        return cls(file, **{**description, "size": size, "fit": fit})

    @property
    def description(self) -> dict[str, Any]:
        """Return all but the file, as JSON."""
        names = ("size", "num_frames", "fps", "mode", "background", "fit")
        return {name: getattr(self, name) for name in names}

    @property
    def media_type(self) -> str:
        from core.pixels.video_frames import media_type_of

        return media_type_of(self._file)

    def first(self, num_frames: int) -> UploadedVideo:
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

    def opened(self, frames: Iterable[Image.Image]) -> UploadedVideo:
        """Return the same with its frames, which `open` then returns at once."""
        return replace(self, _frames=tuple(frames))


def _hard(shade: int) -> int:
    return 255 if shade >= REPAINTED_FROM else 0


VideoField = Annotated[InstanceOf[UploadedVideo], WithJsonSchema({"type": "string", "format": "binary"})]
