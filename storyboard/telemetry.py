"""Storyboards in the log and in `/metrics`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter, Histogram

from core.errors import JubakoError
from storyboard.frames import Finished, FrameDone, Planned, Storyboard, StoryEvent
from storyboard.story import Story

log = logging.getLogger("jubako.storyboard")

STORIES = Counter(
    "jubako_storyboards_total",
    "Stories, by how they ended: done, partial (the deadline passed), cancelled, or the code of an error",
    labelnames=["model", "mode", "outcome"],
)
SECONDS = Histogram(
    "jubako_storyboard_seconds",
    "Seconds from a story to its last frame",
    labelnames=["model", "mode"],
    buckets=(1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200),
)
FRAMES = Histogram(
    "jubako_storyboard_frames", "Frames of a story", labelnames=["model"], buckets=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
)
TRIES = Histogram(
    "jubako_storyboard_tries", "Times that a frame was generated", labelnames=["model"], buckets=(1, 2, 3, 5, 10)
)
CLIP_SCORE = Histogram(
    "jubako_storyboard_clip_score",
    "CLIP score of the frames that were kept",
    labelnames=["model"],
    buckets=(0.0, 0.1, 0.15, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)


@dataclass
class StoryRecord:
    """One story in progress."""

    model: str
    mode: str
    outcome: str | None = None
    """None while the story has not ended."""

    def add(self, event: StoryEvent) -> None:
        """Note what happened."""
        match event:
            case Planned():
                log.info("storyboard: %d scenes, planned by %s", len(event.plan.scenes), event.plan.planner)
            case FrameDone(frame=frame):
                number, score = frame.scene.number, frame.clip_score
                log.info(
                    "storyboard: %d of %d frames generated: frame %d, CLIP score %s, %d tries",
                    *(event.done, event.of, number, "unknown" if score is None else f"{score:.3f}", frame.tries),
                )
            case Finished():
                self._end(event.storyboard)

    def _end(self, storyboard: Storyboard) -> None:
        self.outcome = "done" if storyboard.error is None else "partial"
        SECONDS.labels(model=self.model, mode=self.mode).observe(storyboard.seconds)
        FRAMES.labels(model=self.model).observe(len(storyboard.frames))
        for frame in storyboard.frames:
            TRIES.labels(model=self.model).observe(frame.tries)
            if frame.clip_score is not None:
                CLIP_SCORE.labels(model=self.model).observe(frame.clip_score)
        mean = storyboard.mean_score
        log.info(
            "storyboard: %s after %.1f s: %d frames, mean CLIP score %s",
            *(self.outcome, storyboard.seconds, len(storyboard.frames), "unknown" if mean is None else f"{mean:.3f}"),
        )


@contextmanager
def recorded(story: Story, model: str) -> Iterator[StoryRecord]:
    """Count and log one story, by how the block ends."""
    mode, record = story.mode, StoryRecord(model, story.mode)
    log.info("storyboard: %s, %s mode, seed %d, a story of %d characters", model, mode, story.seed, len(story.prompt))
    try:
        yield record
    except JubakoError as error:
        record.outcome = error.code
        log.warning("storyboard: failed: %s", error)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        # A caller that has all it wanted also closes the generator.
        if record.outcome is None:
            record.outcome = "cancelled"
            log.info("storyboard: cancelled")
        raise
    finally:
        STORIES.labels(model=model, mode=mode, outcome=record.outcome or "error").inc()
