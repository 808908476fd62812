"""The tools: names, arguments, and what each does with the job desk and the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request

from api.http.context import current_desk, current_gateway, current_maker, current_storage, server_address
from api.http.requests.forms import check_files, validated
from api.http.requests.parsing import plain_values
from api.jobs.answers import status_of
from api.mcp.answers import ToolResult, tool_result_of
from api.mcp.earlier_results import with_results
from api.mcp.forms import (
    EditImage,
    GenerateImage,
    GenerateVideo,
    Inpaint,
    JobStatus,
    ListModels,
    MakeStoryboard,
    PictureTool,
)
from api.mcp.tool_jobs import Report, done
from api.openapi_description.bodies import json_schema
from api.operations.status import shown_models
from api.storyboard.forms import story_of
from core.errors import fields_named
from core.generation.client_fields import ClientFields
from core.generation.request import FILES
from jobs.desk.order import Order
from models.catalogue.serving.choosing import meant
from settings import settings
from storyboard.job_kind import STORYBOARD

LISTED_JOBS = 20
ABOUT_MODELS = (
    *("id", "title", "state", "tasks", "negative_prompt", "schedulers", "loras", "lora_triggers"),
    *("controlnets", "ip_adapter", "last_image", "animation", "hires", "token_opt", "camera", "vocabulary", "sound"),
    *("transparent", "layered"),
)
"""The fields of `GET /models` by which an agent chooses."""

Fields = dict[str, Any]
FormT = TypeVar("FormT", bound=ClientFields)
RunTool = Callable[[Request, Fields, Report], Awaitable[ToolResult]]


@dataclass(frozen=True)
class ToolSpec:
    name: str
    title: str
    description: str
    form: type[ClientFields]
    run: RunTool
    reads_only: bool = False

    @property
    def input_schema(self) -> dict[str, Any]:
        return json_schema(self.form)


async def call(spec: ToolSpec, request: Request, arguments: Mapping[str, Any], report: Report) -> ToolResult:
    """Run a tool, within a request whose caller is known. Raises JubakoError."""
    if not spec.reads_only:
        await current_gateway().meter.count_further(1)
    named = await with_results(arguments, settings().max_upload_bytes)
    return await spec.run(request, await plain_values(named, FILES), report)


def _pictures(form: type[PictureTool]) -> RunTool:
    async def run(request: Request, fields: Fields, report: Report) -> ToolResult:
        await check_files(fields, FILES)
        tool, gateway = validated(fields, form), current_gateway()
        entry, task = meant(gateway.catalogue, tool.model or None, tool.tasks)
        draft = tool.draft(entry, task)
        output_format = tool.file_format(task)
        with fields_named(form.names):
            admitted = await gateway.admit(draft, background=tool.background)
        order = Order(
            request=gateway.with_file_hints(admitted, output_format, tool.quality),
            output_format=output_format,
            quality=tool.quality,
            base_url=server_address(request),
            repeatable=tool.seed is not None,
        )
        return await done(order, task, tool.background, report, admitted.deadline_s)

    return run


async def _storyboard(request: Request, fields: Fields, report: Report) -> ToolResult:
    maker = current_maker(request)
    form = await story_of(fields, maker.settings.max_image_px, MakeStoryboard)
    order = Order(
        request=await maker.take_in(form.story),
        output_format=form.output_format,
        kind=STORYBOARD,
        base_url=server_address(request),
        repeatable="seed" in form.model_fields_set and form.deadline_s is None,
    )
    return await done(order, STORYBOARD, form.background, report, form.deadline_s)


async def _list_models(request: Request, fields: Fields, report: Report) -> ToolResult:  # noqa: ARG001  # every tool's
    validated(fields, ListModels)
    models = await shown_models(current_gateway())
    return ToolResult({"models": [{name: model[name] for name in ABOUT_MODELS} for model in models]})


async def _job_status(request: Request, fields: Fields, report: Report) -> ToolResult:  # noqa: ARG001  # every tool's
    form, base_url = validated(fields, JobStatus), server_address(request)
    if form.job is not None:
        return await tool_result_of(await current_desk().get(form.job), base_url)
    page = await current_desk().page(None, None, LISTED_JOBS)
    return ToolResult({"jobs": [await status_of(job, current_storage(), base_url) for job in page.jobs]})


_DEFAULTS = "Leave out what you do not need: models have good defaults."

TOOLS = {
    spec.name: spec
    for spec in (
        ToolSpec(
            "generate_image",
            "Generate an image",
            f"Generate images from a prompt. {_DEFAULTS} list_models says what each model can do.",
            GenerateImage,
            _pictures(GenerateImage),
        ),
        ToolSpec(
            "edit_image",
            "Edit an image",
            f"Change images as a prompt says. Images of earlier calls are named by their job's id. {_DEFAULTS}",
            EditImage,
            _pictures(EditImage),
        ),
        ToolSpec(
            "inpaint",
            "Repaint part of an image",
            f"Repaint an image where a mask is white, and keep every other pixel. {_DEFAULTS}",
            Inpaint,
            _pictures(Inpaint),
        ),
        ToolSpec(
            "generate_video",
            "Generate a video",
            "Generate a video from a prompt, and an image if it should start with one. It may take minutes: set "
            "`background`, and ask job_status. The result is an address.",
            GenerateVideo,
            _pictures(GenerateVideo),
        ),
        ToolSpec(
            "storyboard",
            "Illustrate a story",
            "Break a story into 6 to 10 scenes and generate a consistent image of each. It may take minutes: set "
            "`background`, and ask job_status.",
            MakeStoryboard,
            _storyboard,
        ),
        ToolSpec(
            "list_models",
            "List the models",
            "List the models served, the default first: tasks, sizes, steps, LoRAs, and whether each is loaded.",
            ListModels,
            _list_models,
            reads_only=True,
        ),
        ToolSpec(
            "job_status",
            "Ask about a job",
            "Report how far a job is; with its results, once it has any. Without an id, list your latest jobs.",
            JobStatus,
            _job_status,
            reads_only=True,
        ),
    )
}
