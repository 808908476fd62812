"""What a client may send: `input` with the fields of jobs, or with the names that models on Replicate have for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from api.http.requests.forms import check_files, validated
from api.http.requests.parsing import plain_values
from core.errors import InvalidRequest
from core.generation.animation import VIDEOS
from core.generation.draft import Draft
from core.generation.hints import ignored_hint, unknown_hint
from core.generation.request import FILES, Task
from gateway.media.encoding import DEFAULT_QUALITY, OutputFormat
from models.catalogue.entry import Entry
from models.catalogue.resolving.sizes import fitted_size
from models.catalogue.serving.choosing import first_task

SYNONYMS = {
    "guidance": "guidance_scale",
    "image_input": "images",
    "input_image": "image",
    "input_images": "images",
    "mask_image": "mask",
    "num_outputs": "num_images",
    "output_quality": "quality",
    "prompt_strength": "strength",
    "steps": "num_inference_steps",
}
"""Our names for parameters, by the names that FLUX, SDXL and others have on Replicate."""
ASPECT = "aspect_ratio"
FREE = ("custom", "match_input_image")
"""Values of `aspect_ratio` that leave the size to other fields."""
FIXED = ("task", "model", "progress", "preview_every")
"""Fields that the address decides, or that do not apply to jobs."""


WebhookEvent = Literal["start", "output", "logs", "completed"]
END: WebhookEvent = "completed"


class PredictionBody(BaseModel):
    """The body of a new prediction."""

    model_config = ConfigDict(extra="ignore")

    input: dict[str, Any] = Field(
        default={},
        description="The fields of jobs, such as prompt, width, seed, num_inference_steps; files as data URLs.",
        examples=[{"prompt": "a red apple on a blue background"}],
    )
    version: str | None = Field(
        default=None, description="A model of this server. Default: the one in the address, or the first."
    )
    webhook: str | None = Field(
        default=None, max_length=2000, description="Called with the prediction once it has ended."
    )
    webhook_events_filter: tuple[WebhookEvent, ...] = Field(
        default=(), max_length=16, description="`completed` must be among them, and is what is sent."
    )

    @field_validator("webhook_events_filter")
    @classmethod
    def _with_the_end(cls, events: tuple[WebhookEvent, ...]) -> tuple[WebhookEvent, ...]:
        if events and END not in events:
            raise PydanticCustomError("events", "webhooks are called with the end; add completed")
        return events

    @property
    def webhook_hint(self) -> str | None:
        """A hint about events that the caller's webhook will not get."""
        if self.webhook is None or self.webhook_events_filter == (END,):
            return None
        return ignored_hint("webhook_events_filter", "webhooks are called with completed alone")


class PredictionInput(Draft):
    """The input as a draft, and the format of its files."""

    prompt: str = ""
    output_format: OutputFormat | None = None
    quality: int = Field(default=DEFAULT_QUALITY, ge=1, le=100)


@dataclass(frozen=True)
class ReadInput:
    form: PredictionInput
    hint: str | None
    """Which of the input's fields are unknown."""

    @property
    def draft(self) -> Draft:
        return Draft.of(self.form, progress=True)


async def read_input(given: Mapping[str, Any], entry: Entry) -> ReadInput:
    """Return the input of a prediction with a model. Raises InvalidRequest."""
    fields = await plain_values(_renamed(given), FILES)
    await check_files(fields, FILES)
    task = _task(fields, entry)
    if task is Task.EDIT and "image" in fields:
        fields["images"] = [fields.pop("image"), *fields.get("images", [])]
    known = {
        name: value for name, value in fields.items() if name in PredictionInput.model_fields and name not in FIXED
    }
    size = _size(fields.get(ASPECT), entry, task)
    form = validated({**size, **known, "model": entry.id, "task": task}, PredictionInput)
    return ReadInput(form, unknown_hint(fields.keys() - known.keys() - {ASPECT}))


def names_in(given: Mapping[str, Any]) -> dict[str, str]:
    """Return a prediction's names for a job's fields, where they differ."""
    names = {SYNONYMS.get(name, name): name for name in sorted(given, key=lambda name: name not in SYNONYMS)}
    if "image" in names:
        # An edit takes the one image as the first of several.
        names.setdefault("images", names["image"])
    size = dict.fromkeys(("width", "height"), ASPECT) if ASPECT in given else {}
    return {**size, **names, "webhook_url": "webhook"}


def _renamed(given: Mapping[str, Any]) -> dict[str, Any]:
    named = {SYNONYMS.get(name, name): value for name, value in given.items() if SYNONYMS.get(name, name) not in given}
    named |= {name: value for name, value in given.items() if name not in SYNONYMS}
    return {**named, "output_format": "jpeg"} if named.get("output_format") == "jpg" else named


def _task(fields: Mapping[str, Any], entry: Entry) -> Task:
    """Return the task that is meant, by the files and what the model can do."""
    if not fields.keys().isdisjoint(VIDEOS):
        return first_task(entry, Task.IMAGE_TO_VIDEO)
    if "mask" in fields:
        return first_task(entry, Task.INPAINT, Task.EDIT)
    if "image" not in fields and "images" not in fields:
        return first_task(entry, Task.TEXT_TO_IMAGE, *entry.tasks)
    wanted = (Task.EDIT, Task.IMAGE_TO_IMAGE) if "images" in fields else (Task.IMAGE_TO_IMAGE, Task.EDIT)
    return first_task(entry, *wanted, Task.IMAGE_TO_VIDEO)


def _size(aspect: object, entry: Entry, task: Task) -> dict[str, int]:
    """Return the size of these proportions, such as `16:9`, with about as many pixels as the model's own size."""
    if aspect is None or aspect in FREE or task not in entry.tasks:
        return {}
    numbers = str(aspect).split(":")
    if len(numbers) != 2 or not all(number.isdecimal() and 0 < int(number) <= 100 for number in numbers):
        raise InvalidRequest(ASPECT, f"{str(aspect)[:20]!r} is not a proportion such as 16:9")
    across, down = map(int, numbers)
    defaults, limits = entry.tasks[task].defaults, entry.tasks[task].limits
    width = math.sqrt(defaults.width * defaults.height * across / down)
    fitting = fitted_size(max(1, round(width)), max(1, round(width * down / across)), limits)
    return dict(zip(("width", "height"), fitting, strict=True))
