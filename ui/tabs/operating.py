"""Jobs and models: which jobs wait and run, and which models are loaded where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from client.calls import ApiCall, FormBody, cancelling, prioritizing
from client.errors import Refused, Unreachable
from ui.generating.progress_display import hints_html
from ui.job_rows import COLUMNS, OPEN, in_order, listings
from ui.page import QUIET, PageLayout
from ui.server_load import Reading, ServerLoad

NAME = "Jobs and models"
EVERY_S = 2
READINGS = 90
"""How many readings are kept: three minutes."""
PRIORITIES = ("high", "normal", "low")
MODEL_COLUMNS = ("model", "state", "device", "GiB, of the device's", "running", "waiting")
PLOTS = {"images/s": "images_per_s", "samples a pass": "batch_size", "waiting": "queued"}


def operating_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Operating(page)


class _Operating:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self.readings = gr.State([])
        self.job_id = gr.State(None)
        self.timer = gr.Timer(EVERY_S, active=False)
        self.hints = gr.HTML(hints_html())
        self.trouble = gr.HTML(hints_html())
        """The last problem in reading the server's state; set again by every reading."""
        gr.Markdown("### Jobs")
        self.jobs = gr.Dataframe(headers=list(COLUMNS), interactive=False, wrap=True, elem_id="jobs")
        with gr.Row(equal_height=True):
            self.priority = gr.Dropdown(
                list(PRIORITIES),
                value=None,
                label="Priority of the job that is chosen",
                info="Until it is drawn, it can be moved to the end of another line.",
                interactive=False,
                filterable=False,
                elem_id="priority",
            )
            self.cancel = gr.Button("Choose a job to cancel it", variant="stop", interactive=False)
        gr.Markdown("### Models")
        self.models = gr.Dataframe(headers=list(MODEL_COLUMNS), interactive=False, elem_id="models")
        with gr.Row(equal_height=True):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.device = gr.Textbox(label="Device", placeholder="where it is, or cuda:1, cpu")
            self.load = gr.Button("Load or move")
            self.unload = gr.Button("Unload")
        with gr.Row(equal_height=True):
            self.lora = gr.File(
                label="Add a LoRA to this model (.safetensors)", file_types=[".safetensors"], height=140, elem_id="lora"
            )
        gr.Markdown("### Load")
        with gr.Row():
            self.plots = [
                gr.LinePlot(x="seconds", y=title, height=200, title=title, elem_id=f"plot-{column}")
                for title, column in PLOTS.items()
            ]
        page.when_opened(_listed, [self.model])
        self._connect()

    def _connect(self) -> None:
        seen = [self.jobs, self.models, self.trouble, self.readings, *self.plots]
        self._page.tabs.select(_is_shown, None, self.timer, **QUIET)
        gr.on([self._page.tab.select, self.timer.tick], self._look, self.readings, seen, **QUIET)
        self.jobs.select(_job_chosen, None, [self.job_id, self.priority, self.cancel], **QUIET)
        self.priority.input(self._prioritize, [self.job_id, self.priority], self.hints, **QUIET)
        self.cancel.click(self._cancel, self.job_id, [self.hints, self.job_id, self.priority, self.cancel], **QUIET)
        self.load.click(self._load, [self.model, self.device], self.hints, **QUIET)
        self.unload.click(self._unload, self.model, self.hints, **QUIET)
        self.lora.upload(self._add_lora, [self.model, self.lora], [self.hints, self.lora], **QUIET)

    async def _look(self, readings: list[Reading], request: gr.Request) -> list[Any]:
        connection = self._page.server.connection(request)
        try:
            jobs = in_order([row for listing in listings() for row in await connection.send(listing)])
            models = await connection.send(_health())
        except (Refused, Unreachable) as error:
            return [gr.skip(), gr.skip(), hints_html(str(error), error=True), readings, *[gr.skip()] * len(self.plots)]
        try:
            readings = [*readings, Reading.of(await connection.send(_metrics()))][-READINGS:]
            said = hints_html()
        except (Refused, Unreachable):
            said = hints_html("Only an administrator's key can see how busy the server is.")
        return [jobs, models, said, readings, *_plotted(readings)]

    async def _cancel(self, job_id: str, request: gr.Request) -> list[Any]:
        said = await self._done(request, cancelling(job_id), "Cancelled.")
        return [said, None, gr.Dropdown(interactive=False), gr.Button(interactive=False)]

    async def _prioritize(self, job_id: str, priority: str, request: gr.Request) -> str:
        return await self._done(request, prioritizing(job_id, priority), f"{job_id} has {priority} priority.")

    async def _load(self, model: str | None, device: str, request: gr.Request) -> str:
        body = {"device": device} if device else {}
        return await self._done(request, _managing(model, "load", body), f"{model} is being loaded.")

    async def _unload(self, model: str | None, request: gr.Request) -> str:
        return await self._done(request, _managing(model, "unload", {}), f"{model} is unloaded.")

    async def _add_lora(self, model: str | None, file: str, request: gr.Request) -> AsyncGenerator[list[Any], None]:
        yield [hints_html(f"It is being added to {model}."), gr.skip()]
        call: ApiCall[None] = ApiCall("POST", f"/models/{model}/loras", lambda _: None, FormBody({}, [("file", file)]))
        said = await self._done(request, call, f"Requests to {model} may name it now.")
        # Deleted at once, since it may be gigabytes.
        await asyncio.to_thread(Path(file).unlink, missing_ok=True)
        yield [said, None]

    async def _done(self, request: gr.Request, call: ApiCall[Any], said: str) -> str:
        try:
            await self._page.server.connection(request).send(call)
        except (Refused, Unreachable) as error:
            return hints_html(str(error), error=True)
        return hints_html(said)


def _listed(models: list[dict[str, Any]]) -> list[Any]:
    ids = [each["id"] for each in models]
    return [gr.Dropdown(choices=ids, value=ids[0] if ids else None)]


def _is_shown(event: gr.SelectData) -> Any:
    """Poll the server only while this tab is shown."""
    return gr.Timer(active=event.value == NAME)


def _job_chosen(event: gr.SelectData) -> list[Any]:
    row = dict(zip(COLUMNS, event.row_value, strict=True))
    can = row["status"] in OPEN
    priority = gr.Dropdown(value=row["priority"], interactive=can and row["progress"] == "0 %")
    return [row["id"], priority, gr.Button(f"Cancel {row['id']}" if can else "It has ended", interactive=can)]


def _plotted(readings: list[Reading]) -> list[Any]:
    loads = [
        (after.at_s - readings[-1].at_s, ServerLoad.between(before, after)) for before, after in pairwise(readings)
    ]
    return [
        pd.DataFrame({"seconds": [s for s, _ in loads], title: [getattr(load, column) for _, load in loads]})
        for title, column in PLOTS.items()
    ]


def _health() -> ApiCall[list[list[Any]]]:
    def read(answer: Any) -> list[list[Any]]:
        states = answer.json()["models"]
        return [_row(runner) for state in states for runner in state.get("runners") or [state]]

    return ApiCall("GET", "/health", read)


def _row(state: dict[str, Any]) -> list[Any]:
    said = f"loading, {state.get('progress') or 0:.0%}" if state["state"] == "loading" else state["state"]
    name = state["model"] if state.get("replica") is None else f"{state['model']}, replica {state['replica']}"
    return [name, said, state.get("device"), _memory(state), state.get("running", 0), state.get("queued", 0)]


def _memory(state: dict[str, Any]) -> str:
    """Return how much memory a loaded model takes, and how much its device has."""
    taken, total = state.get("memory_gib"), (state.get("device_memory_gib") or {}).get(state.get("device"))
    return " of ".join(f"{gib:.3g}" for gib in (taken, total) if gib is not None) if taken is not None else ""


def _metrics() -> ApiCall[str]:
    return ApiCall("GET", "/metrics", lambda answer: str(answer.text))


def _managing(model: str | None, act: str, body: dict[str, Any]) -> ApiCall[None]:
    return ApiCall("POST", f"/models/{model}/{act}", lambda _: None, body)
