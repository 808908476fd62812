"""What a client may send to the job routes: the contract's parameters and defaults, and all parameters of the typed
APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from api.http.requests.forms import check_files, validated
from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import FILES, Priority, Task
from gateway.media.encoding import DEFAULT_QUALITY, OutputFormat
from models.catalogue.entry import Entry
from models.catalogue.limits import TaskSettings

DOCUMENTED = {"width": 512, "height": 512, "num_inference_steps": 50, "guidance_scale": 7.5}
"""The contract's defaults; a model uses its own instead of those it does not support."""
DOCUMENTED_STRENGTH = 0.8


def by_name(priority: object) -> object:
    """Accept `high`, `normal` and `low`, as well as 0, 1 and 2."""
    named = isinstance(priority, str) and priority.upper() in Priority.__members__
    return Priority[str(priority).upper()] if named else priority


class JobForm(Draft):
    """A draft, the format of its result's files, and a webhook."""

    prompt: str = ""
    priority: Annotated[Priority, BeforeValidator(by_name)] = Priority.NORMAL
    output_format: OutputFormat | None = Field(default=None, description="Default: png, or mp4 for videos.")
    quality: int = Field(
        default=DEFAULT_QUALITY, ge=1, le=100, description="For all formats but PNG and GIF, which have none."
    )
    webhook_url: str | None = Field(default=None, max_length=2000, description="Called when the job has ended.")

    @property
    def draft(self) -> Draft:
        return Draft.of(self)


async def job_form(fields: dict[str, Any], entry: Entry, task: Task) -> JobForm:
    """Decode the files of one job and complete it with the contract's defaults. Raises InvalidRequest."""
    await check_files(fields, FILES)
    if task is Task.EDIT and "image" in fields and "images" not in fields:
        # `i2i` sends one `image` even where it means an edit.
        fields["images"] = (fields.pop("image"),)
    if fields.get("task") not in (None, task):
        raise InvalidRequest("task", f"{fields['task']} is not what this address does; leave it out")
    return validated({**_defaults(entry, task, fields), **fields, "model": entry.id, "task": task}, JobForm)


def _defaults(entry: Entry, task: Task, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contract's defaults that the model supports; sizes follow the image where there is one."""
    settings = entry.tasks.get(task)
    if settings is None:
        return {}
    fits = _fitting(settings)
    if task is not Task.TEXT_TO_IMAGE or {"width", "height"} & asked.keys():
        fits = {name: value for name, value in fits.items() if name not in ("width", "height")}
    if task.takes_strength:
        fits["strength"] = DOCUMENTED_STRENGTH
    return fits if not task.is_video else {}


def _fitting(settings: TaskSettings) -> dict[str, Any]:
    limits = settings.limits
    side = DOCUMENTED["width"]
    lowest, highest = limits.guidance_scale
    supported = {
        "width": limits.min_px <= side <= limits.max_px and side % limits.multiple_px == 0,
        "num_inference_steps": DOCUMENTED["num_inference_steps"] <= limits.max_steps,
        "guidance_scale": lowest <= DOCUMENTED["guidance_scale"] <= highest,
    }
    supported["height"] = supported["width"] = supported["width"] and side * side <= limits.max_pixels
    return {name: value for name, value in DOCUMENTED.items() if supported[name]}
