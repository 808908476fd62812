"""Requests to the job routes, as orders for the job desk."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from starlette.requests import Request

from api.http.context import current_gateway, current_maker, server_address
from api.jobs.forms import by_name, job_form
from api.jobs.task_names import TASKS, model_and_task
from api.storyboard.forms import story_of
from core.errors import InvalidRequest, fields_named
from core.generation.request import Priority, Task
from gateway.media.encoding import format_for
from jobs.desk.order import Order
from models.catalogue.entry import Entry
from storyboard.job_kind import STORYBOARD
from storyboard.story import Story


class StoryOrder(Story):
    """A story, its priority and its webhook."""

    priority: Annotated[Priority, BeforeValidator(by_name)] = Priority.NORMAL
    webhook_url: str | None = Field(default=None, max_length=2000)

    @property
    def story(self) -> Story:
        return Story(**{name: getattr(self, name) for name in Story.model_fields})


async def order_of(request: Request, entry: Entry, kind: str, fields: dict[str, Any], **options: Any) -> Order:
    """Check a request and charge its caller; `kind` is the task's name in addresses. Raises JubakoError."""
    common = {"base_url": server_address(request), **options}
    if kind == STORYBOARD:
        return await _story(request, entry, fields, common)
    if kind not in TASKS:
        raise InvalidRequest("task", f"{kind!r} is unknown; known: {', '.join([*TASKS, STORYBOARD])}")
    return await _pictures(*model_and_task(current_gateway().catalogue, entry, kind), fields, common)


async def _pictures(entry: Entry, task: Task, fields: dict[str, Any], common: dict[str, Any]) -> Order:
    gateway = current_gateway()
    # `job_form` makes an edit's one `image` its `images`.
    with fields_named({"images": "image"} if "images" not in fields else {}):
        form = await job_form(fields, entry, task)
        output_format = format_for(form.task, form.output_format)
        draft = form.draft.model_copy(update={"progress": True})
        request = await gateway.admit(draft, background=True)
    return Order(
        request=gateway.with_file_hints(request, output_format, form.quality),
        output_format=output_format,
        quality=form.quality,
        webhook_url=form.webhook_url,
        repeatable=form.seed is not None,
        **common,
    )


async def _story(request: Request, entry: Entry, fields: dict[str, Any], common: dict[str, Any]) -> Order:
    maker = current_maker(request)
    form = await story_of({**fields, "model": entry.id}, maker.settings.max_image_px, StoryOrder)
    return Order(
        request=await maker.take_in(form.story),
        output_format=form.output_format,
        kind=STORYBOARD,
        webhook_url=form.webhook_url,
        # With a deadline, a story may end with only some of its frames.
        repeatable="seed" in form.model_fields_set and form.deadline_s is None,
        **common,
    )
