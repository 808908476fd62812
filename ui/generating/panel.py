"""What all tabs that draw share: the two buttons, the stage, and the server's messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from client.errors import Refused, Unreachable
from client.results import Job
from ui.generating.job_progress import draw
from ui.generating.progress_display import EMPTY, ProgressDisplay, ended_html, hints_html
from ui.generating.story_progress_display import StoryProgressDisplay
from ui.page import QUIET, PageLayout


class NothingToDraw(Exception):
    """The request lacks something; the message is shown under the prompt."""


class Studio:
    """The shared parts of one tab; `name` is the prefix of its elements' ids."""

    def __init__(self, page: PageLayout, name: str) -> None:
        self._page = page
        self._name = name
        self.job = gr.State(None)

    def lay_out_buttons(self, label: str = "Draw") -> None:
        self.hints = gr.HTML(hints_html())
        with gr.Row():
            self.start = gr.Button(label, variant="primary", elem_id=f"{self._name}-draw")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id=f"{self._name}-cancel")
        self.cancel.click(self._cancel, self.job, self.hints, **QUIET)

    def lay_out_stage(self) -> None:
        self.stage = gr.HTML(EMPTY, elem_id=f"{self._name}-stage")

    def outputs(self, *own: Any) -> list[Any]:
        """Return the components that `drawn` updates; `own` are the tab's seed and results."""
        return [self.stage, self.hints, self.job, self.start, self.cancel, *own]

    async def drawn(
        self,
        request: gr.Request,
        asked: Callable[[], tuple[str, Mapping[str, Any]]],
        show: Callable[[tuple[Path, ...]], dict[Any, Any]],
        seed: gr.Number | None = None,
        display: ProgressDisplay | StoryProgressDisplay | None = None,
    ) -> AsyncGenerator[dict[Any, Any], None]:
        """Draw what `asked` returns, an API's name and parameters, and yield updates.

        `asked` may raise NothingToDraw. `show` returns the updates that show the results. Both run in threads. `seed`
        is the component that shows the request's seed.
        """
        try:
            # In a thread, since it may prepare large images.
            api, parameters = await asyncio.to_thread(asked)
            yield {
                self.hints: hints_html(),
                self.start: gr.Button(interactive=False),
                **({} if seed is None else {seed: parameters["seed"]}),
            }
            client = self._page.server.client(request)
            async with aclosing(draw(client, api, parameters, display or ProgressDisplay())) as drawings:
                async for each in drawings:
                    self._page.requests.keep(each.job.id, parameters)
                    yield {
                        self.stage: each.stage,
                        self.hints: hints_html(each.hint),
                        self.job: each.job,
                        self.cancel: gr.Button(interactive=True),
                    }
            if each.files:
                yield await asyncio.to_thread(show, each.files)
        except NothingToDraw as missing:
            yield {self.hints: hints_html(str(missing), error=True)}
        except (Refused, Unreachable) as error:
            yield {self.stage: ended_html("Nothing was drawn."), self.hints: hints_html(str(error), error=True)}
        yield {self.start: gr.Button(interactive=True), self.cancel: gr.Button(interactive=False)}

    async def _cancel(self, job: Job | None, request: gr.Request) -> Any:
        if job is None:
            return gr.skip()
        try:
            await self._page.server.client(request).cancel(job)
        except (Refused, Unreachable) as error:
            return hints_html(str(error), error=True)
        return gr.skip()


def gallery(name: str, label: str = "Images", columns: int = 2) -> gr.Gallery:
    """Lay out the gallery of results."""
    return gr.Gallery(
        label=label,
        columns=columns,
        object_fit="contain",
        height=None,
        visible=False,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id=f"{name}-images",
    )


def shown_in(component: gr.Gallery, files: tuple[Path, ...]) -> dict[Any, Any]:
    return {component: gr.Gallery([str(file) for file in files], columns=min(len(files), 2), visible=True)}
