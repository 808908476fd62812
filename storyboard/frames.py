"""A story's events: Planned, ReferenceDone*, (FrameStep | FrameDone)* in any order, Finished."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from core.generation.events import Picture
from core.generation.request import GenerationRequest
from storyboard.characters import Mode
from storyboard.references import DrawnReference, worth_of
from storyboard.scenes import Plan, Scene
from storyboard.story import Story


@dataclass(frozen=True)
class Frame:
    """One frame, the best of its tries."""

    scene: Scene
    request: GenerationRequest
    picture: Picture
    clip_score: float | None
    """Cosine of picture and prompt; None when nothing could score it."""
    tries: int
    follows: tuple[str, ...] = ()
    """Names of the characters from whose references it was edited."""
    upscaled: bytes | None = None
    """The file of the upscaled image, if there is one; the pixels of a whole story would take too much memory."""

    @property
    def worth(self) -> float:
        return worth_of(self.clip_score)


@dataclass(frozen=True)
class Storyboard:
    story: Story
    model: str
    plan: Plan
    frames: tuple[Frame, ...]
    """In the order of the story; fewer than planned when `error` says why."""
    seconds: float
    error: str | None = None
    warnings: tuple[str, ...] = ()
    references: tuple[DrawnReference, ...] = ()

    @property
    def mean_score(self) -> float | None:
        scores = [frame.clip_score for frame in self.frames if frame.clip_score is not None]
        return fmean(scores) if scores else None


@dataclass(frozen=True)
class Planned:
    model: str
    mode: Mode
    plan: Plan


@dataclass(frozen=True)
class ReferenceDone:
    number: int
    """1 is the first."""
    reference: DrawnReference


@dataclass(frozen=True)
class FrameStep:
    """One denoising step of one frame."""

    number: int
    attempt: int
    """1 is the first."""
    step: int
    steps: int
    skipped: bool = False
    """Whether it was predicted instead of computed."""


@dataclass(frozen=True)
class FrameDone:
    frame: Frame
    done: int
    of: int


@dataclass(frozen=True)
class Finished:
    storyboard: Storyboard


StoryEvent = Planned | ReferenceDone | FrameStep | FrameDone | Finished
