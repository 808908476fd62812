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

PixelMode = Literal["RGB", "L"]
_RESAMPLING = {"RGB": Image.Resampling.LANCZOS, "L": Image.Resampling.NEAREST}
REPAINTED_FROM = 128
"""Masks are black and white: shades that their encoder blurred are rounded to one of the two."""


@dataclass(frozen=True)
class UploadedVideo(UploadedFile):
    """An uploaded video, still compressed.

    Its frames exist only in what `open` returns: a minute of them takes gigabytes, and a request may wait for long.
    """

    num_frames: int
    """How many frames `open` returns: all, or the first ones."""
    fps: float
    """Frames a second, as the file says; 0 where it does not."""
    mode: PixelMode = "RGB"
    """L for a mask."""
    background: Literal["black", "white"] = "white"
    """The colour of bars beside it."""
    _frames: tuple[Image.Image, ...] | None = field(default=None, repr=False, compare=False)
    """The frames, once they have been decoded."""

    @classmethod
    def of(cls, file: bytes, description: Mapping[str, Any]) -> UploadedVideo:
        """Return a file's video from what `description` returned. Raises KeyError or ValueError for anything else."""
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
        """Decode its frames one by one. Blocks. Raises UnreadableVideo, though never for a checked file."""
        # Imported late: most requests have no videos, and not every machine that runs this has FFmpeg.
        from core.pixels.video_frames import upright_frames

        for image in islice(upright_frames(self.file, self.background), self.num_frames):
            seen = image.convert("L").point(_hard) if self.mode == "L" else image
            place = placement(seen.size, self.size, self.fit)
            yield placed(seen, place, self.size, _RESAMPLING[self.mode], self.background)

    def open(self) -> list[Image.Image]:
        """Return its frames, in `mode`. Blocks, unless they have been decoded already."""
        return list(self.frames() if self._frames is None else self._frames)

    def opened(self, frames: Iterable[Image.Image]) -> UploadedVideo:
        """Return the video with its decoded frames, which `open` then returns at once."""
        return replace(self, _frames=tuple(frames))


def _hard(shade: int) -> int:
    return 255 if shade >= REPAINTED_FROM else 0


VideoField = Annotated[InstanceOf[UploadedVideo], WithJsonSchema({"type": "string", "format": "binary"})]
