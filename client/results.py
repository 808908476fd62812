"""What comes back: images and videos that show themselves in notebooks, jobs, models and storyboards."""

from __future__ import annotations

import base64
import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

FINAL = ("completed", "failed", "cancelled")
SHOWN_PX = 320
"""Width of a story's frames in a notebook."""


@dataclass(frozen=True)
class _File:
    data: bytes = field(repr=False)
    media_type: str
    seed: int | None = None
    model: str | None = None
    hint: str | None = None
    """What the server ignored of the request."""

    def save(self, path: str | Path) -> Path:
        """Write the file as it is; its name does not change its format."""
        path = Path(path)
        path.write_bytes(self.data)
        return path


@dataclass(frozen=True)
class Image(_File):
    """A generated image; in a notebook it shows itself."""

    @property
    def pillow(self) -> Pillow.Image:
        return Pillow.open(BytesIO(self.data))

    def _repr_png_(self) -> bytes:
        if self.media_type == "image/png":
            return self.data
        buffer = BytesIO()
        self.pillow.save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True)
class Video(_File):
    """A generated video; in a notebook it plays."""

    def _repr_html_(self) -> str:
        url = f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"
        if self.media_type == "image/gif":
            return f'<img src="{url}">'
        return f'<video src="{url}" controls loop autoplay muted></video>'


Result = Image | Video


def result_of(data: bytes, media_type: str, **about: Any) -> Result:
    """Return a file as what it is; animations are videos."""
    is_video = media_type.startswith("video/") or media_type == "image/gif"
    return (Video if is_video else Image)(data, media_type, **about)


def file_stems(results: Sequence[Result]) -> list[str]:
    """Return a different name for each result of a request: their seeds, and numbers where seeds repeat.

    Layers of one image all have its seed.
    """
    times = Counter(each.seed for each in results)
    return [
        f"{each.seed}-{number}" if times[each.seed] > 1 else f"{each.seed}" for number, each in enumerate(results, 1)
    ]


@dataclass(frozen=True)
class Frame:
    image: Image
    number: int
    caption: str
    prompt: str
    clip_score: float | None


@dataclass(frozen=True)
class Reference:
    """What frames that are edits follow, where it was drawn for the story."""

    image: Image
    name: str
    """The character's; empty where the story names none."""
    prompt: str


@dataclass(frozen=True)
class Storyboard:
    """A story's frames; in a notebook they stand side by side over their captions."""

    frames: list[Frame]
    seed: int
    model: str
    error: str | None
    """Why there are fewer frames than planned."""
    warnings: list[str]
    mode: str = "simple"
    references: list[Reference] = field(default_factory=list)

    def save(self, folder: str | Path) -> list[Path]:
        """Write the frames into a folder, as frame_001.png and so on, and the references, as reference_001.png."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        named = [(f"frame_{each.number:03d}", each.image) for each in self.frames]
        named += [(f"reference_{number:03d}", each.image) for number, each in enumerate(self.references, 1)]
        return [image.save(folder / f"{name}.{image.media_type.partition('/')[2]}") for name, image in named]

    def _repr_html_(self) -> str:
        figures = (
            f'<figure style="margin:4px;width:{SHOWN_PX}px"><img width="{SHOWN_PX}" src="data:{each.image.media_type};'
            f'base64,{base64.b64encode(each.image.data).decode()}"><figcaption>{html.escape(each.caption)}</figcaption>'
            "</figure>"
            for each in self.frames
        )
        return f'<div style="display:flex;flex-wrap:wrap">{"".join(figures)}</div>'


@dataclass(frozen=True)
class StoryFiles:
    """The images of a story that was a job."""

    frames: list[Result]
    sheet: Result
    references: list[Result]

    @classmethod
    def of(cls, results: list[Result], seed: int | None) -> StoryFiles:
        """Sort a job's images: the sheet, which has the story's own seed, stands between frames and references."""
        at = [each.seed for each in results].index(seed)
        return cls(results[:at], results[at], results[at + 1 :])


@dataclass(frozen=True)
class Job:
    """A job as it was when the server was asked."""

    id: str
    status: str
    """pending, processing, completed, failed or cancelled."""
    progress: int
    """Per cent."""
    message: str
    model: str
    task: str
    error: str | None
    hint: str | None
    results: list[dict[str, Any]]
    """Each with `url`, `media_type` and `seed`."""
    created_at: str
    position: int | None = None
    """In the queue, 1 being next."""

    @property
    def ended(self) -> bool:
        return self.status in FINAL

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Job:
        """Read what a server says of a job; newer ones may say more."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        return cls(id=fields["session_id"], **known)


@dataclass(frozen=True)
class Animation:
    """The videos that a model moves the figure in an image by, as the fields of requests."""

    needed: Sequence[str]
    together: Sequence[str]
    """All of them or none."""
    max_frames: int


@dataclass(frozen=True)
class Model:
    id: str
    title: str
    state: str
    """Whether it is loaded: ready, unloaded, loading, ..."""
    tasks: dict[str, Any]
    """Defaults and limits by task."""
    fields: dict[str, Any] = field(repr=False)
    """All that `GET /models` says."""

    @property
    def animation(self) -> Animation | None:
        """None of a model that takes no videos."""
        # Servers of earlier releases say nothing of it.
        said = self.fields.get("animation")
        return said and Animation(said["needed"], said["together"], said["max_frames"])

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Model:
        return cls(fields["id"], fields["title"], fields["state"], fields["tasks"], fields)
