"""Gallery: what this user has drawn, from the server's jobs, and the parameters of any image of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from client.calls import FILES
from client.errors import Refused, Unreachable
from client.results import Job
from ui.generating.finished_jobs import deleting, fetched_each, is_video, list_completed, request_of, still_here
from ui.generating.progress_display import hints_html
from ui.image_parameters import parameters_of, table
from ui.page import QUIET, PageLayout
from ui.request.controls import new_seed
from ui.reuse import LISTED, Reuse, missing, parameters_left_out

JOBS = 24
"""How many jobs a page of the gallery has."""
EMPTY = '<p class="empty">Choose an image to see how it was drawn.</p>'
NO_PARAMETERS = (
    "This image does not say how it was drawn: it was not drawn here, or another program has saved it since."
)
OWN_FILES = "The files that it began with are no longer here: choose them again."


@dataclass(frozen=True)
class ShownFile:
    """A file, and the job whose result it is."""

    file: str
    job: Job


def gallery_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Gallery(page)


class _Gallery:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self.shown = gr.State([])
        """The gallery's contents, in order."""
        self.before = gr.State(None)
        self.parameters = gr.State(None)
        """Parameters of the chosen image."""
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
                self.hint = gr.HTML(hints_html())
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
            self.delete = gr.Button("Delete", interactive=False)
        with gr.Row(visible=False, elem_id="deleting") as self.asking:
            self.asked = gr.Markdown()
            self.sure = gr.Button(variant="stop")
            self.keep = gr.Button("Keep")
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
            self.asking,
        ]
        gr.on([self._page.tab.select, self.refresh.click], self._newest, self.shown, listed, **QUIET)
        self.older.click(self._next, [self.shown, self.before], listed, **QUIET)
        self.images.select(self._selected, self.shown, selected, **QUIET)
        self.dropped.upload(self._read, self.dropped, selected, **QUIET)
        self.delete.click(_sure, [self.shown, self.job_id], [self.asking, self.asked, self.sure], **QUIET)
        self.keep.click(lambda: gr.Row(visible=False), None, self.asking, **QUIET)
        deleted = self.sure.click(self._delete, self.job_id, [self.hint, *selected], **QUIET)
        deleted.then(self._newest, self.shown, listed, **QUIET)
        filled = [self._page.tabs, self.hint]
        for reuse in self._page.reuses:
            filled += [*reuse.outputs, reuse.said, reuse.vary]
        given = [self._page.models, self.parameters]
        self.again.click(self._fill, given, filled, **QUIET)
        self.vary.click(self._vary, given, filled, **QUIET)

    async def _newest(self, shown: list[ShownFile], request: gr.Request) -> list[Any]:
        return await self._listed([], None, shown, request)

    async def _next(self, shown: list[ShownFile], before: str | None, request: gr.Request) -> list[Any]:
        return await self._listed(shown, before, shown, request)

    async def _listed(
        self, shown: list[ShownFile], before: str | None, known: list[ShownFile], request: gr.Request
    ) -> list[Any]:
        """Return the gallery with the next page of completed jobs after `shown`; files in `known` are not fetched."""
        here = still_here((each.file, each.job.id) for each in known)
        try:
            jobs, following = await self._page.server.connection(request).send(list_completed(before, JOBS))
            files = await fetched_each(self._page.server.client(request), jobs, here)
        except (Refused, Unreachable) as error:
            return [gr.skip(), shown, before, gr.skip(), hints_html(str(error), error=True)]
        shown = shown + [ShownFile(file, job) for job, own in zip(jobs, files, strict=True) for file in own]
        said = hints_html() if shown else hints_html("Nothing yet: what you draw on the other tabs is kept here.")
        return [[each.file for each in shown], shown, following, gr.Button(interactive=following is not None), said]

    async def _selected(self, shown: list[ShownFile], event: gr.SelectData, request: gr.Request) -> list[Any]:
        """Show a file and its parameters: an image contains them, a video's are asked of the server."""
        file, job = Path(shown[event.index].file), shown[event.index].job
        if not is_video(file):
            return self._chosen(file, parameters_of(file), job.id)
        try:
            asked = await self._page.server.connection(request).send(request_of(job))
        except (Refused, Unreachable):
            asked = None
        return self._chosen(file, asked, job.id)

    def _read(self, file: str) -> list[Any]:
        return self._chosen(Path(file), parameters_of(Path(file)), None)

    def _chosen(self, file: Path, parameters: dict[str, Any] | None, job_id: str | None) -> list[Any]:
        video = is_video(file)
        # A dropped file must not name paths on this machine as its images; only files that this page has kept are used.
        fields = parameters and {name: value for name, value in parameters.items() if name not in {*FILES, LISTED}}
        whole = fields and {**fields, **self._page.requests.files_of(job_id)}
        usable = whole is not None and self._taking(whole) is not None
        return [
            gr.Image(str(file), visible=True) if not video else gr.Image(None, visible=False),
            gr.Video(str(file), visible=True) if video else gr.Video(None, visible=False),
            table(parameters) if parameters else f'<p class="empty">{NO_PARAMETERS}</p>',
            whole,
            job_id,
            gr.Button(interactive=usable),
            gr.Button(interactive=usable and not missing(whole or {})),
            gr.Button(interactive=job_id is not None),
            gr.Row(visible=False),
        ]

    def _taking(self, parameters: dict[str, Any]) -> Reuse | None:
        """Return how to reuse a request, if a tab takes it."""
        return next((reuse for reuse in self._page.reuses if parameters.get("task") in reuse.tasks), None)

    async def _delete(self, job_id: str, request: gr.Request) -> list[Any]:
        try:
            await self._page.server.connection(request).send(deleting(job_id))
        except (Refused, Unreachable) as error:
            return [hints_html(str(error), error=True), *[gr.skip()] * 9]
        off, hidden = gr.Button(interactive=False), gr.Row(visible=False)
        image, video = gr.Image(None, visible=False), gr.Video(None, visible=False)
        return [hints_html(), image, video, EMPTY, None, None, off, off, off, hidden]

    def _fill(self, models: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[Any, Any]:
        """Open the tab that takes the request, filled from it; say what could not be filled."""
        return self._filled(models, parameters, locked=True)

    def _vary(self, models: list[dict[str, Any]], parameters: dict[str, Any]) -> dict[Any, Any]:
        """Draw the request again with another seed."""
        return self._filled(models, parameters, locked=False)

    def _filled(self, models: list[dict[str, Any]], parameters: dict[str, Any], *, locked: bool) -> dict[Any, Any]:
        reuse = self._taking(parameters)
        assert reuse is not None
        filled = reuse.fill(models, parameters, locked)
        if not filled:
            return {self.hint: hints_html(f"No model that is served here does {parameters['task']}.", error=True)}
        others = parameters_left_out(parameters, reuse.knows)
        lost = f"The page has no control for {', '.join(others)}." if others else None
        said = hints_html(OWN_FILES if missing(parameters) else None, lost)
        shown = {reuse.said: said, self.hint: said, self._page.tabs: gr.Tabs(selected=reuse.tab)}
        return {**filled, **shown, **({} if locked else {reuse.vary: new_seed()})}


def _sure(shown: list[ShownFile], job_id: str) -> list[Any]:
    """Ask before deleting a job's results, since only one of them is shown large."""
    count = sum(each.job.id == job_id for each in shown)
    if count == 1:
        asked, button = "It cannot be restored.", "Delete it for good"
    else:
        asked, button = f"It is one of {count} that were drawn together; all will go.", f"Delete all {count}"
    return [gr.Row(visible=True), asked, gr.Button(button)]
