"""Storyboards as jobs: the record holds the story, the results are its files."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from jobs.job import Job
from jobs.kinds import File, JobUpdate, NumberedFile
from storyboard.files.bundle import files_of
from storyboard.frames import Finished, Frame, FrameDone, FrameStep, Planned, Storyboard, StoryEvent
from storyboard.maker import Maker, frames_charged_at_acceptance
from storyboard.references import DrawnReference
from storyboard.rendering import render_event
from storyboard.story import Story

STORYBOARD = "storyboard"
"""The kind of job, and its name in addresses."""
SHOWN_PX = 384
"""The longer side of images in events; small, since events are kept as long as the job runs."""


@dataclass(frozen=True)
class StoryboardJobs:
    """The kind of job that is one story."""

    maker: Maker

    def restore(self, fields: Mapping[str, Any]) -> Story:
        return Story.model_validate(fields)

    async def carry_out(self, request: Story, job: Job) -> AsyncGenerator[JobUpdate | NumberedFile, None]:  # noqa: ARG002  # a kind of job gets the job
        progress = _StoryProgress()
        async with aclosing(self.maker.make(request, frames_charged_at_acceptance(request))) as events:
            async for event in events:
                if isinstance(event, Finished):
                    if warnings := "; ".join(event.storyboard.warnings):
                        yield JobUpdate("hint", details={"hint": warnings}, hint=warnings)
                    for index, file in enumerate(await asyncio.to_thread(_files, event.storyboard)):
                        yield NumberedFile(index, file)
                elif (update := await asyncio.to_thread(progress.after, event)) is not None:
                    yield update


class _StoryProgress:
    """A story's progress, by the steps of its frames."""

    def __init__(self) -> None:
        self._frames: dict[int, float] = {}
        """The share of each frame that is generated, by number."""
        self._done = 0
        self._per_cent = -1

    def after(self, event: StoryEvent) -> JobUpdate | None:
        """Return what to report, or None for a step of less than one per cent."""
        if isinstance(event, Planned):
            self._frames = {scene.number: 0.0 for scene in event.plan.scenes}
        elif isinstance(event, FrameDone):
            self._frames[event.frame.scene.number], self._done = 1.0, event.done
        elif isinstance(event, FrameStep):
            self._frames[event.number] = max(self._frames[event.number], event.step / (event.steps + 1))
        share = sum(self._frames.values()) / len(self._frames)
        if isinstance(event, FrameStep) and int(100 * share) <= self._per_cent:
            return None
        self._per_cent = int(100 * share)
        name, details = render_event(event, _small)
        message = f"{self._done} of {len(self._frames)} frames generated"
        # In a job's events, `progress` is a number, so the event of this name is renamed.
        return JobUpdate("step" if name == "progress" else name, share, message, details)


def _small(drawn: Frame | DrawnReference) -> str:
    """A frame or a reference as a data URL."""
    image, buffer = drawn.picture.image.copy(), BytesIO()
    image.thumbnail((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()


def _files(board: Storyboard) -> list[File]:
    return [File(file.data, file.media_type, file.seed, file.skipped_steps) for file in files_of(board)]
