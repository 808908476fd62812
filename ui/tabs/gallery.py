"""Gallery: what this user has drawn, from the server's jobs, and what any image of ours was drawn with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr

from client.asynchronous import AsyncJubako
from client.calls import Call
from client.errors import Refused, Unreachable
from client.results import Job
from ui.drawing import save
from ui.page import QUIET, Page
from ui.parameters import parameters_of, table
from ui.stage import hints

JOBS = 24
"""On a page of the gallery."""
EMPTY = '<p class="empty">Choose an image to see how it was drawn.</p>'
NO_PARAMETERS = (
    "This image does not say how it was drawn: it was not drawn here, or another program has saved it since."
)
Shown = tuple[str, str]
"""A file, and the job that it is a result of."""
VIDEOS = (".mp4", ".webm", ".gif")


def gallery_tab(page: Page) -> None:
    """Lay it out."""
    _Gallery(page)


class _Gallery:
    def __init__(self, page: Page) -> None:
        self._page = page
        self.shown = gr.State([])
        """What the gallery has, in its order."""
        self.before = gr.State(None)
        self.parameters = gr.State(None)
        """Of the image that is chosen."""
        self.job_id = gr.State(None)
        with gr.Row():
            with gr.Column(scale=6, min_width=300):
                with gr.Row():
                    self.refresh = gr.Button("Refresh", size="sm")
                    self.older = gr.Button("Older", size="sm", interactive=False)
                self.images = gr.Gallery(
                    label="Your images",
                    columns=4,
                    object_fit="contain",
                    height=560,
                    interactive=False,
                    allow_preview=False,
                    buttons=[],
                    elem_id="gallery",
                )
                self.hint = gr.HTML(hints())
            with gr.Column(scale=5, min_width=300):
                self._lay_out_chosen()
        self._connect()

    def _lay_out_chosen(self) -> None:
        self.image = gr.Image(
            label="Image",
            type="filepath",
            interactive=False,
            visible=False,
            height=360,
            buttons=["download", "fullscreen"],
            elem_id="chosen",
        )
        self.video = gr.Video(label="Video", interactive=False, visible=False, height=360, buttons=["download"])
        self.about = gr.HTML(EMPTY, elem_id="about")
        with gr.Row():
            self.again = gr.Button("Use again", interactive=False)
            self.vary = gr.Button("Vary", interactive=False)
            self.delete = gr.Button("Delete", variant="stop", interactive=False)
        self.dropped = gr.File(
            elem_id="dropped", label="Drop an image here to read its parameters", file_types=["image"], height=140
        )

    def _connect(self) -> None:
        listed = [self.images, self.shown, self.before, self.older, self.hint]
        selected = [
            self.image,
            self.video,
            self.about,
            self.parameters,
            self.job_id,
            self.again,
            self.vary,
            self.delete,
        ]
        gr.on([self._page.tab.select, self.refresh.click], self._newest, self.shown, listed, **QUIET)
        self.older.click(self._next, [self.shown, self.before], listed, **QUIET)
        self.images.select(self._selected, self.shown, selected, **QUIET)
        self.dropped.upload(self._read, self.dropped, selected, **QUIET)
        deleted = self.delete.click(self._delete, self.job_id, [self.hint, *selected], **QUIET)
        deleted.then(self._newest, self.shown, listed, **QUIET)
        if self._page.reuse:
            given = [self._page.models, self.parameters]
            filled = [*self._page.reuse.outputs, self._page.tabs]
            self.again.click(self._fill, given, filled, **QUIET)
            self._page.reuse.draw(self.vary.click(self._fill_with_new_seed, given, filled, **QUIET))

    async def _newest(self, shown: list[Shown], request: gr.Request) -> list[Any]:
        return await self._listed([], None, shown, request)

    async def _next(self, shown: list[Shown], before: str | None, request: gr.Request) -> list[Any]:
        return await self._listed(shown, before, shown, request)

    async def _listed(
        self, shown: list[Shown], before: str | None, known: list[Shown], request: gr.Request
    ) -> list[Any]:
        """Return the gallery with the next page of completed jobs behind `shown`; those in `known` need no fetching."""
        here = _here(known)
        client = self._page.server.client(request)

        async def files_of(job: Job) -> list[str]:
            return here[job.id] if job.id in here and job.results else await _fetched(client, job)

        try:
            jobs, following = await self._page.server.connection(request).send(_completed(before))
            files = await asyncio.gather(*map(files_of, jobs))
        except (Refused, Unreachable) as error:
            return [gr.skip(), shown, before, gr.skip(), hints(str(error), error=True)]
        shown = shown + [(file, job.id) for job, own in zip(jobs, files, strict=True) for file in own]
        said = hints() if shown else hints("Nothing yet: what you draw on the other tabs is kept here.")
        return [[file for file, _ in shown], shown, following, gr.Button(interactive=following is not None), said]

    def _selected(self, shown: list[Shown], event: gr.SelectData) -> list[Any]:
        file, job_id = shown[event.index]
        return self._chosen(Path(file), job_id)

    def _read(self, file: str) -> list[Any]:
        return self._chosen(Path(file), None)

    def _chosen(self, file: Path, job_id: str | None) -> list[Any]:
        is_video = file.suffix in VIDEOS
        parameters = None if is_video else parameters_of(file)
        usable = parameters is not None and parameters.get("task") == "text-to-image"
        return [
            gr.Image(str(file), visible=True) if not is_video else gr.Image(None, visible=False),
            gr.Video(str(file), visible=True) if is_video else gr.Video(None, visible=False),
            table(parameters) if parameters else f'<p class="empty">{NO_PARAMETERS if not is_video else ""}</p>',
            parameters,
            job_id,
            gr.Button(interactive=usable),
            gr.Button(interactive=usable),
            gr.Button(interactive=job_id is not None),
        ]

    async def _delete(self, job_id: str, request: gr.Request) -> list[Any]:
        try:
            await self._page.server.connection(request).send(_deleting(job_id))
        except (Refused, Unreachable) as error:
            return [hints(str(error), error=True), *[gr.skip()] * 8]
        off = gr.Button(interactive=False)
        return [hints(), gr.Image(None, visible=False), gr.Video(None, visible=False), EMPTY, None, None, off, off, off]

    def _fill(self, models: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[Any, Any]:
        return self._filled(models, parameters, locked=True)

    def _fill_with_new_seed(self, models: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[Any, Any]:
        return self._filled(models, parameters, locked=False)

    def _filled(self, models: list[dict[str, Any]], parameters: dict[str, Any], *, locked: bool) -> dict[Any, Any]:
        assert self._page.reuse is not None
        return {**self._page.reuse.fill(models, parameters, locked), self._page.tabs: gr.Tabs(selected="Create")}


def _here(known: list[Shown]) -> dict[str, list[str]]:
    """Return the files that are still here, by their jobs."""
    here: dict[str, list[str]] = {}
    for file, job_id in known:
        if Path(file).exists():
            here.setdefault(job_id, []).append(file)
    return here


async def _fetched(client: AsyncJubako, job: Job) -> list[str]:
    """Fetch a job's images and videos."""
    if not job.results:
        return []
    try:
        return list(map(str, await asyncio.to_thread(save, job, await client.results(job))))
    except Refused:
        # Its files have expired, or somebody has deleted one of them.
        return []


def _completed(before: str | None) -> Call[tuple[list[Job], str | None]]:
    """Return the call that lists finished jobs, and where the next page begins."""
    query = {"status": "completed", "limit": JOBS, **({"before": before} if before else {})}
    return Call(
        "GET",
        "/api/jobs",
        lambda answer: ([Job.of(each) for each in answer.json()["jobs"]], answer.json()["next_before"]),
        query=query,
    )


def _deleting(job_id: str) -> Call[None]:
    return Call("DELETE", f"/api/{job_id}/result", lambda _: None)
