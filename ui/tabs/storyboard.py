"""Storyboard: a story becomes frames, which appear as they are drawn."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from client.asynchronous import AsyncJubako
from client.errors import Refused, Unreachable
from client.events import Event
from client.results import Job
from ui.drawing import save
from ui.files import new_folder
from ui.page import QUIET, Page, able, choices
from ui.settings import new_seed
from ui.stage import EMPTY, ended, hints

EXAMPLE = "A fox finds a red apple, sails to a castle and gives it to a friendly dragon"
MOST_FRAMES, FEWEST_FRAMES = 10, 6


def storyboard_tab(page: Page) -> None:
    """Lay it out."""
    _Storyboard(page)


@dataclass
class _Progress:
    """What is known of a story that is being drawn."""

    waiting: str = "Waiting for the server."
    scenes: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[int, str] = field(default_factory=dict)
    """By number: a data URL."""
    message: str = ""

    def hear(self, event: Event) -> bool:
        """Take in what has happened; return whether there is more to see."""
        data = event.data
        self.message = str(data.get("message") or self.message)
        match event.name:
            case "planned":
                self.scenes = data["scenes"]
            case "frame":
                self.frames[data["frame_number"]] = str(data["image"])
            case "queued":
                self.waiting = f"In the queue: place {data.get('position', '?')}."
            case _:
                return False
        return True

    def html(self) -> str:
        if not self.scenes:
            return f'<div class="stage"><p role="status">{escape(self.waiting)}</p></div>'
        figures = "".join(map(self._figure, self.scenes))
        return f'<div class="story">{figures}</div><p role="status">{escape(self.message)}</p>'

    def _figure(self, scene: dict[str, Any]) -> str:
        number, caption = scene["frame_number"], escape(scene["caption"])
        image = self.frames.get(number)
        shown = f'<img src="{escape(image)}" alt="{caption}">' if image else '<div class="missing"></div>'
        return f"<figure>{shown}<figcaption>{number}. {caption}</figcaption></figure>"


class _Storyboard:
    def __init__(self, page: Page) -> None:
        self._page = page
        self.job = gr.State(None)
        with gr.Row():
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=8, min_width=300, elem_classes="results"):
                self.stage = gr.HTML(EMPTY, elem_id="story-stage")
                self.frames = gr.Gallery(
                    label="Frames",
                    columns=4,
                    object_fit="contain",
                    height=None,
                    visible=False,
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="story-frames",
                )
                self.files = gr.File(label="To keep", file_count="multiple", visible=False, elem_id="story-files")
        page.when_opened(self._models_known, [self.model])
        shown = [self.stage, self.frames, self.files, self.hints, self.job, self.start, self.cancel, self.seed]
        gr.on([self.start.click, self.story.submit], self._draw, self.given, shown, **QUIET)
        self.cancel.click(self._cancel, self.job, self.hints, **QUIET)
        self.example.click(lambda: EXAMPLE, None, self.story, **QUIET)

    def _lay_out_request(self) -> None:
        self.story = gr.Textbox(label="Story", lines=5, max_lines=12, placeholder="Once upon a time ...")
        self.example = gr.Button("Take an example", size="sm")
        self.hints = gr.HTML(hints())
        with gr.Row():
            self.start = gr.Button("Draw", variant="primary", elem_id="story-draw")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False)
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.count = gr.Slider(FEWEST_FRAMES, MOST_FRAMES, 8, step=1, label="Frames")
            self.guided = gr.Checkbox(False, label="Take the first frame as the reference of all others")
            with gr.Row():
                self.seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0)
                self.locked = gr.Checkbox(False, label="Keep it")

    @property
    def given(self) -> set[Any]:
        return {self.story, self.model, self.count, self.guided, self.seed, self.locked}

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        seed = int(given[self.seed] or 0) if given[self.locked] else new_seed()
        parameters = {
            "model": given[self.model],
            "num_frames": int(given[self.count]),
            "seed": seed,
            "use_ref_guided": given[self.guided] or None,
        }
        off, on = gr.Button(interactive=False), gr.Button(interactive=True)
        hidden = {self.frames: gr.Gallery(visible=False), self.files: gr.File(visible=False)}
        yield {self.hints: hints(), self.seed: seed, self.start: off, self.cancel: on, **hidden}
        client = self._page.server.client(request)
        try:
            job = await client.submit(given[self.story], "storyboard", **parameters)
            yield {self.job: job}
            async with aclosing(self._followed(client, job)) as pages:
                async for html in pages:
                    yield {self.stage: html}
            yield await self._ended(client, job)
        except (Refused, Unreachable) as error:
            yield {self.stage: ended("Nothing was drawn."), self.hints: hints(str(error), error=True)}
        yield {self.start: on, self.cancel: off}

    async def _followed(self, client: AsyncJubako, job: Job) -> AsyncGenerator[str, None]:
        progress = _Progress()
        async with aclosing(client.events(job)) as events:
            async for event in events:
                if progress.hear(event):
                    yield progress.html()

    async def _ended(self, client: AsyncJubako, job: Job) -> dict[Any, Any]:
        job = await client.job(job.id)
        if job.status != "completed":
            return {self.stage: ended("Cancelled." if job.status == "cancelled" else job.error or job.message)}
        files = await asyncio.to_thread(save, job, await client.results(job))
        *frames, sheet = files
        kept = await asyncio.to_thread(_to_keep, frames, sheet)
        return {
            self.stage: ended("Drawn. Choose a frame to see it whole."),
            self.hints: hints(job.hint),
            self.frames: gr.Gallery(list(map(str, frames)), visible=True),
            self.files: gr.File(list(map(str, kept)), visible=True),
        }

    async def _cancel(self, job: Job | None, request: gr.Request) -> Any:
        if job is None:
            return gr.skip()
        try:
            await self._page.server.client(request).cancel(job)
        except (Refused, Unreachable) as error:
            return hints(str(error), error=True)
        return gr.skip()

    def _models_known(self, models: list[dict[str, Any]]) -> Any:
        found = able(models, "text-to-image")
        return gr.Dropdown(choices=choices(found), value=found[0].id if found else None)


def _to_keep(frames: list[Path], sheet: Path) -> list[Path]:
    """Write the sheet, a zip of everything, and a PDF with a page for the sheet and each frame."""
    folder = new_folder()
    archive, document = folder / "story.zip", folder / "story.pdf"
    with zipfile.ZipFile(archive, "w") as files:
        for number, file in enumerate(frames, 1):
            files.write(file, f"frame_{number:03d}{file.suffix}")
        files.write(sheet, "sheet.png")
    first, *others = [Image.open(file).convert("RGB") for file in (sheet, *frames)]
    first.save(document, save_all=True, append_images=others)
    return [sheet, archive, document]
