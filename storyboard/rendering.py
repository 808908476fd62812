"""A story's events as callers read them, in streams and jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from storyboard.files.answer import answer_with, frame_answer, reference_answer
from storyboard.frames import Finished, Frame, FrameDone, FrameStep, Planned, ReferenceDone, StoryEvent
from storyboard.references import DrawnReference


def render_event(event: StoryEvent, image_of: Callable[[Frame | DrawnReference], str]) -> tuple[str, dict[str, Any]]:
    """Return the name and the fields of an event; `image_of` encodes an image, which takes time."""
    match event:
        case Planned():
            return "planned", rendered_plan(event)
        case ReferenceDone():
            described = reference_answer(event.reference, image_of(event.reference)).model_dump()
            return "reference", {**described, "reference_number": event.number}
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
            return "done", answer_with(board, [""] * len(board.frames), [""] * len(board.references)).model_dump(
                exclude={"frames", "references"}
            )


def rendered_plan(event: Planned) -> dict[str, Any]:
    """Return the fields of a plan."""
    scenes = [
        {"frame_number": each.number, "prompt": each.prompt, "caption": each.caption, "characters": each.characters}
        for each in event.plan.scenes
    ]
    common = {"planner": event.plan.planner, "model": event.model, "mode": event.mode}
    return {**common, "num_frames": len(scenes), "scenes": scenes}
