"""Storyboard: a story becomes frames, which appear as they are drawn."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from client.asynchronous import AsyncJubako
from client.calls import Call, body_of
from client.errors import Refused, Unreachable
from client.events import Event
from client.results import Job
from ui.drawing import LOST, save
from ui.files import new_folder
from ui.page import QUIET, Page, able, choices
from ui.parameters import parameters_of
from ui.settings import new_seed
from ui.stage import EMPTY, ended, hints

EXAMPLE = "A fox finds a red apple, sails to a castle and gives it to a friendly dragon"
KEPT = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "num_inference_steps",
    "guidance_scale",
    "scheduler",
    "loras",
    "step_cache",
)
"""Of a frame's parameters, when it is drawn again."""
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
            case "loading":
                self.waiting = f"The model is loading: {float(data.get('progress') or 0):.0%}."
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


@dataclass(frozen=True)
class _Drawn:
    """A story that is drawn."""

    model: str
    frames: list[Path]


class _Storyboard:
    def __init__(self, page: Page) -> None:
        self._page = page
        self.job = gr.State(None)
        self.drawn = gr.State(None)
        self.chosen = gr.State(None)
        """The number of the frame that is to be drawn again."""
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
                self.redraw = gr.Button("Choose a frame to draw it again", interactive=False, visible=False)
                self.files = gr.File(label="Download", file_count="multiple", visible=False, elem_id="story-files")
        page.when_opened(self._models_known, [self.model])
        finished = [self.frames, self.files, self.redraw, self.drawn, self.hints]
        shown = [*finished, self.stage, self.job, self.start, self.cancel, self.seed]
        self.plan.click(self._plan, self.given, [self.scenes, self.hints], **QUIET)
        self.frames.select(_frame_chosen, None, [self.chosen, self.redraw], **QUIET)
        self.redraw.click(self._redraw, [self.drawn, self.chosen], finished, **QUIET)
        gr.on([self.start.click, self.story.submit], self._draw, self.given, shown, **QUIET)
        self.cancel.click(self._cancel, self.job, self.hints, **QUIET)
        taken = self.example.click(lambda: EXAMPLE, None, self.story, **QUIET)
        taken.then(_no_plan, None, self.scenes, **QUIET)
        gr.on([self.story.input, self.count.release], _no_plan, None, self.scenes, **QUIET)

    def _lay_out_request(self) -> None:
        self.story = gr.Textbox(label="Story", lines=5, max_lines=12, placeholder="Once upon a time ...")
        self.example = gr.Button("Use an example", size="sm")
        self.hints = gr.HTML(hints())
        with gr.Row():
            self.start = gr.Button("Draw", variant="primary", elem_id="story-draw")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="story-cancel")
        with gr.Accordion("Plan", open=False, elem_id="story-plan"):
            gr.Markdown("What each frame shows, to be changed before it is drawn. Without one here, the server plans.")
            self.plan = gr.Button("Plan it", size="sm")
            self.scenes = gr.Dataframe(
                headers=["caption", "prompt"],
                column_count=(2, "fixed"),
                type="array",
                interactive=True,
                wrap=True,
                elem_id="story-scenes",
            )
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.count = gr.Slider(FEWEST_FRAMES, MOST_FRAMES, 8, step=1, label="Frames")
            self.guided = gr.Checkbox(False, label="Take the first frame as the reference of all others")
            with gr.Row():
                self.seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0)
                self.locked = gr.Checkbox(False, label="Keep it")

    @property
    def given(self) -> set[Any]:
        return {self.story, self.model, self.count, self.guided, self.seed, self.locked, self.scenes}

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        seed = int(given[self.seed] or 0) if given[self.locked] else new_seed()
        scenes = _scenes(given[self.scenes])
        parameters = {**self._asked(given), "seed": seed}
        if scenes:
            parameters |= {"scenes": scenes, "num_frames": None}
        off, on = gr.Button(interactive=False), gr.Button(interactive=True)
        hidden = {
            self.frames: gr.Gallery(visible=False),
            self.files: gr.File(visible=False),
            self.redraw: gr.Button(visible=False),
        }
        yield {self.hints: hints(), self.seed: seed, self.start: off, **hidden}
        client = self._page.server.client(request)
        try:
            job = await client.submit(given[self.story], "storyboard", **parameters)
            yield {self.job: job, self.cancel: on}
            progress = _Progress()
            with suppress(Refused, Unreachable):
                async with aclosing(client.events(job)) as events:
                    async for event in events:
                        if progress.hear(event):
                            yield {self.stage: progress.html()}
            yield await self._ended(client, job)
        except (Refused, Unreachable) as error:
            yield {self.stage: ended("Nothing was drawn."), self.hints: hints(str(error), error=True)}
        yield {self.start: on, self.cancel: off}

    def _asked(self, given: dict[Any, Any]) -> dict[str, Any]:
        return {
            "model": given[self.model],
            "num_frames": int(given[self.count]),
            "use_ref_guided": given[self.guided] or None,
        }

    async def _plan(self, given: dict[Any, Any], request: gr.Request) -> list[Any]:
        """Return the server's plan as a table, of which each row can be changed."""
        body = body_of({"prompt": given[self.story], **self._asked(given)})
        call: Call[list[list[str]]] = Call("POST", "/storyboard/plan", _rows, body)
        try:
            return [await self._page.server.connection(request).send(call), hints()]
        except (Refused, Unreachable) as error:
            return [gr.skip(), hints(str(error), error=True)]

    async def _ended(self, client: AsyncJubako, job: Job) -> dict[Any, Any]:
        job = await client.job(job.id)
        if not job.ended:
            return {self.stage: ended(LOST)}
        if job.status != "completed":
            return {self.stage: ended("Cancelled." if job.status == "cancelled" else job.error or job.message)}
        *frames, sheet = await asyncio.to_thread(save, job, await client.results(job))
        finished = await self._finished(_Drawn(job.model, frames), sheet)
        return {**finished, self.hints: hints(job.hint), self.stage: ended("Drawn. Choose a frame to see it whole.")}

    async def _finished(self, drawn: _Drawn, sheet: Path | None) -> dict[Any, Any]:
        kept = await asyncio.to_thread(_to_keep, drawn.frames, sheet)
        return {
            self.drawn: drawn,
            self.frames: gr.Gallery(list(map(str, drawn.frames)), visible=True),
            self.redraw: gr.Button("Choose a frame to draw it again", interactive=False, visible=True),
            self.files: gr.File(list(map(str, kept)), visible=True),
        }

    async def _redraw(self, drawn: _Drawn, number: int, request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        """Draw one frame with another seed, in place of what it was."""
        yield {self.hints: hints(f"Frame {number} is being drawn again."), self.redraw: gr.Button(interactive=False)}
        client = self._page.server.client(request)
        try:
            job = await client.submit(**_again(drawn, number), seed=new_seed())
            (result,) = await client.wait(job)
        except (Refused, Unreachable) as error:
            yield {self.hints: hints(str(error), error=True), self.redraw: gr.Button(interactive=True)}
            return
        (frame,) = await asyncio.to_thread(save, job, [result])
        frames = [frame if place == number else other for place, other in enumerate(drawn.frames, 1)]
        # The sheet shows the frame as it was.
        yield {**await self._finished(replace(drawn, frames=frames), None), self.hints: hints()}

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


def _frame_chosen(event: gr.SelectData) -> list[Any]:
    number = event.index + 1
    return [number, gr.Button(f"Draw frame {number} again", interactive=True)]


def _again(drawn: _Drawn, number: int) -> dict[str, Any]:
    """Return the request of a frame, without its seed; what it followed as a reference is the first frame."""
    told = parameters_of(drawn.frames[number - 1]) or {}
    kept = {name: told[name] for name in KEPT if told.get(name) is not None}
    if told.get("reference_scale") is not None and number > 1:
        kept |= {"reference_image": drawn.frames[0], "reference_scale": told["reference_scale"]}
    return {**kept, "model": drawn.model}


def _no_plan() -> list[list[str]]:
    """A plan is of one story."""
    return []


def _rows(answer: Any) -> list[list[str]]:
    return [[scene["caption"], scene["prompt"]] for scene in answer.json()["scenes"]]


def _scenes(rows: list[list[str]] | None) -> list[dict[str, str]]:
    """Return the rows of the plan that say what to draw."""
    return [
        {"caption": caption or "", "prompt": prompt} for caption, prompt, *_ in rows or () if (prompt or "").strip()
    ]


def _to_keep(frames: list[Path], sheet: Path | None) -> list[Path]:
    """Write a zip of all files, and a PDF with a page for each; a sheet comes first, and by itself too."""
    folder = new_folder()
    archive, document = folder / "story.zip", folder / "story.pdf"
    named = {f"frame_{number:03d}{file.suffix}": file for number, file in enumerate(frames, 1)}
    named |= {"sheet.png": sheet} if sheet else {}
    with zipfile.ZipFile(archive, "w") as files:
        for name, file in named.items():
            files.write(file, name)
    first, *others = [Image.open(file).convert("RGB") for file in ([sheet] if sheet else []) + frames]
    first.save(document, save_all=True, append_images=others)
    return [*([sheet] if sheet else []), archive, document]
