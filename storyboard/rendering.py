"""The events of a story as callers read them, in streams and in jobs alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storyboard.files.answer import answer_with, frame_answer
from storyboard.frames import Finished, Frame, FrameDone, FrameStep, Planned, StoryEvent
from storyboard.story import Story


def render_event(event: StoryEvent, story: Story, image_of: Callable[[Frame], str]) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of an event; `image_of` encodes a frame's image, which takes time."""
    match event:
        case Planned():
            return "planned", rendered_plan(event, story)
        case FrameStep():
            return "progress", {
                "frame_number": event.number,
                "try": event.attempt,
                "step": event.step,
                "steps": event.steps,
                "skipped": event.skipped,
            }
        case FrameDone():
            described = frame_answer(event.frame, image_of(event.frame)).model_dump()
            return "frame", {**described, "done": event.done, "of": event.of}
        case Finished(storyboard=board):
            return "done", answer_with(board, [""] * len(board.frames)).model_dump(exclude={"frames"})


def rendered_plan(event: Planned, story: Story) -> dict[str, Any]:
    """Return the fields of a plan."""
    scenes = [{"frame_number": s.number, "prompt": s.prompt, "caption": s.caption} for s in event.plan.scenes]
    common = {"planner": event.plan.planner, "model": event.model, "mode": story.mode}
    return {**common, "num_frames": len(scenes), "scenes": scenes}
