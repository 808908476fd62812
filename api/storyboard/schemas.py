"""The storyboard contract's requests and answers, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, create_model

from api.openapi_description.answer import Answer
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from api.openapi_description.event_streams import described_events
from api.storyboard.answers import StoryRefused
from api.storyboard.forms import Shape
from core.generation.request import Task
from storyboard.files.answer import FrameAnswer, ReferenceAnswer, StoryboardAnswer
from storyboard.story import Story

EXAMPLE: dict[str, Any] = {"prompt": "A little fox looks for its friends in the forest", "seed": 42}


class StoryHealth(Answer):
    status: str
    model_loaded: bool
    lora_path: str | None
    ref_guided_available: bool
    model: str


class StoryScene(Answer):
    frame_number: int
    prompt: str
    caption: str
    characters: list[str] = Field(description="Those of the story's characters who are in it.")


class StoryPlanned(Answer):
    planner: str
    model: str
    mode: str
    num_frames: int
    scenes: list[StoryScene]


class StoryProgress(Answer):
    frame_number: int
    attempt: int = Field(alias="try", description="1 is the first.")
    step: int
    steps: int
    skipped: bool = Field(description="Whether it was predicted instead of computed.")


class StoryReference(ReferenceAnswer):
    reference_number: int


class StoryFrame(FrameAnswer):
    done: int = Field(description="Frames that are done.")
    of: int


class StoryDone(StoryboardAnswer):
    frames: None = Field(default=None, exclude=True, description="Absent: they have been sent.")  # type: ignore[assignment]
    references: None = Field(default=None, exclude=True, description="Absent, likewise.")  # type: ignore[assignment]


class StoryFailed(StoryRefused):
    status: int
    retry_after_s: int | None = None


EVENTS = described_events(
    planned=StoryPlanned,
    reference=StoryReference,
    progress=StoryProgress,
    frame=StoryFrame,
    done=StoryDone,
    error=StoryFailed,
)
_Body = create_model(
    "StoryBody",
    __base__=Story,
    format=(Shape | None, Field(default=None, description="Of the answer. Default: as `Accept` says, or json.")),
)
STORY = described_body(_Body, JSON, MULTIPART, name="Story", task=Task.TEXT_TO_IMAGE, **EXAMPLE)
PLAN = described_body(Story, JSON, MULTIPART, name="PlannedStory", task=Task.TEXT_TO_IMAGE, **EXAMPLE)
