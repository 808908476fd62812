"""Which CLIP looks at the frames of which model, and how good a frame must be for it. Knows no torch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from models.entries import Entry
from models.sources import Source
from storyboard.options import StoryOptions
from storyboard.scoring import Pair

OPENAI_CLIP = Source(repo="openai/clip-vit-large-patch14")
OWN_THRESHOLD = 0.7
OPENAI_THRESHOLD = 0.2

Compare = Callable[[Source, Pair], Awaitable[float]]
"""Returns the cosine of a pair by a CLIP, -1 to 1. Raises Busy."""


@dataclass(frozen=True)
class ClipScorer:
    """A `storyboard.scoring.Scorer`."""

    clip: Source
    threshold: float
    """The score below which a frame is drawn again, unless its story says another."""
    _compare: Compare

    async def score(self, image: Image.Image, text: str) -> float:
        """Return the cosine of a picture and a text, -1 to 1. Raises Busy."""
        return await self._compare(self.clip, (image, text))

    async def likeness(self, one: Image.Image, other: Image.Image) -> float:
        """Return the cosine of two pictures, -1 to 1. Raises Busy."""
        return await self._compare(self.clip, (one, other))


@dataclass(frozen=True)
class Scorers:
    """`compare` is that of `storyboard.scorer_client` on a server, or of `storyboard.clip_host` in this process."""

    options: StoryOptions
    compare: Compare

    def of(self, entry: Entry) -> ClipScorer:
        """Return the scorer of a model's frames: the operator's CLIP, else the model's own, else OpenAI's."""
        named = self.options.story_clip_model
        if named is None and entry.token_opt is not None:
            clip, fitting = entry.token_opt.clip, OWN_THRESHOLD
        else:
            clip, fitting = _source(named) if named else OPENAI_CLIP, OPENAI_THRESHOLD
        wanted = self.options.story_clip_threshold
        return ClipScorer(clip, fitting if wanted is None else wanted, self.compare)


def _source(name: str) -> Source:
    folder = Path(name).expanduser()
    return Source(path=folder) if folder.is_dir() else Source(repo=name)
