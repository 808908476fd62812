"""Which CLIP scores the frames of which model, and what score a frame must reach. Knows no torch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from models.catalogue.catalogue import unknown_words
from models.catalogue.entry import Entry
from models.catalogue.sources import Source
from settings.sections.stories import StoryOptions
from storyboard.scoring.pairs import ImageTextPair

OPENAI_CLIP = Source(repo="openai/clip-vit-large-patch14")
OWN_THRESHOLD = 0.7
"""Measured for the miniatures' CLIP on 120 images that `miniature` generated (72 of held-out pairs; its judge calls all
but one right). Scores for the right prompt: mean 0.86, 5 % below 0.69; 94 % reach 0.7. For another concept on the same
background: mean 0.28, 2.5 % reach 0.7; for another background: 0.45, 4.2 %; for both: -0.02, none.
"""
STRANGER_THRESHOLD = 0.2
"""For characters that a LoRA knows but CLIP does not, so that it can only judge the rest of the prompt. Pictures of
`kumo` score 0.28 to 0.64 for their prompts, and -0.34 to -0.03 for Kumo on another background.
"""
OPENAI_THRESHOLD = 0.2
"""Pictures of Stable Diffusion models score 0.20 to 0.35 (eval-learn's documentation, "CLIP Score"; logits are 100
times cosines: https://eval-learn.readthedocs.io/en/latest/metrics/clip-score/), so lower ones show little of their
prompt. Filters of training data are stricter: LAION-400M kept captions that reach 0.3 with the smaller ViT-B/32.
"""

Compare = Callable[[Source, ImageTextPair], Awaitable[float]]
"""Returns the cosine of a pair by a CLIP, -1 to 1. Raises Busy."""


@dataclass(frozen=True)
class ClipScorer:
    """Compares by one CLIP."""

    clip: Source
    threshold: float
    """The score below which a frame is generated again, unless its story sets another threshold."""
    _compare: Compare

    async def score(self, image: Image.Image, text: str) -> float:
        """Return the cosine of a picture and a text, -1 to 1. Raises Busy."""
        return await self._compare(self.clip, (image, text))


@dataclass(frozen=True)
class Scorers:
    """`compare` is from `scoring.client` on a server, or from `scoring.clip_host` in this process."""

    options: StoryOptions
    compare: Compare

    def of(self, entry: Entry, trigger: str = "") -> ClipScorer:
        """Return the scorer of a model's frames: the operator's CLIP, else the model's own, else OpenAI's.

        `trigger` calls up a character that the model itself may not know.
        """
        named = self.options.story_clip_model
        if named is None and entry.token_opt is not None:
            clip = entry.token_opt.clip
            fitting = STRANGER_THRESHOLD if unknown_words(entry, trigger) else OWN_THRESHOLD
        else:
            clip, fitting = _source(named) if named else OPENAI_CLIP, OPENAI_THRESHOLD
        wanted = self.options.story_clip_threshold
        return ClipScorer(clip, fitting if wanted is None else wanted, self.compare)


def _source(name: str) -> Source:
    folder = Path(name).expanduser()
    return Source(path=folder) if folder.is_dir() else Source(repo=name)
