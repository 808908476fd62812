"""Storyboard: a story becomes frames, which appear as they are drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import gradio as gr

from client.calls import ApiCall, body_of
from client.errors import Refused, Unreachable
from client.results import Model
from ui.generating.drawn_story import DrawnStory
from ui.generating.panel import Studio, gallery
from ui.generating.progress_display import hints_html
from ui.generating.story_progress_display import StoryProgressDisplay
from ui.page import QUIET, PageLayout, able, choices, chosen
from ui.request.basics import BasicControls
from ui.request.consistency import ConsistencyControls
from ui.request.controls import new_seed
from ui.snippets.code_panel import CodePanel
from ui.snippets.snippet_request import PLAN, STORY
from ui.temporary_files import new_folder

EXAMPLE = "A fox finds a red apple, sails to a castle and gives it to a friendly dragon"
MOST_FRAMES, FEWEST_FRAMES = 10, 6
TASKS = ("text-to-image", "edit")
"""A model must do one of these."""


def storyboard_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Storyboard(page)


class _Storyboard:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self._studio = Studio(page, "story")
        self.drawn = gr.State(None)
        self.chosen = gr.State(None)
        """The number of the frame to draw again."""
        with gr.Row():
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=8, min_width=300, elem_classes="results"):
                self._studio.lay_out_stage()
                self.frames = gallery("story", "Frames", columns=4)
                self.redraw = gr.Button("Choose a frame to draw it again", interactive=False, visible=False)
                self.files = gr.File(label="Download", file_count="multiple", visible=False, elem_id="story-files")
                self._code = CodePanel("story", self.given, self.read)
        page.keep_states(self.model, *TASKS)
        following = [*self.alike.following, *self.basics.components]
        page.when_opened(self._models_known, [self.model, *following])
        self.model.input(self._model_chosen, [page.models, self.model], following, **QUIET)
        self._connect()

    def _connect(self) -> None:
        outputs = self._studio.outputs(self.seed, self.frames, self.files, self.redraw, self.drawn, *self._code.outputs)
        gr.on([self._studio.start.click, self.story.submit], self._draw, self.given, outputs, **QUIET)
        self.frames.select(_frame_chosen, None, [self.chosen, self.redraw], **QUIET)
        self.redraw.click(self._redraw, [self.drawn, self.chosen], outputs, **QUIET)
        self.plan.click(self._plan, self.given, [self.scenes, self._studio.hints], **QUIET)
        self.example.click(lambda: (EXAMPLE, _no_plan()), None, [self.story, self.scenes], **QUIET)
        gr.on([self.story.input, self.count.release], _no_plan, None, self.scenes, **QUIET)

    def _lay_out_request(self) -> None:
        self.story = gr.Textbox(label="Story", lines=5, max_lines=12, placeholder="Once upon a time ...")
        self.example = gr.Button("Use an example", size="sm")
        self._studio.lay_out_buttons()
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.count = gr.Slider(FEWEST_FRAMES, MOST_FRAMES, 8, step=1, label="Frames")
            self.alike = ConsistencyControls()
            with gr.Row():
                self.seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0)
                self.locked = gr.Checkbox(False, label="Keep it")
            with gr.Accordion("Settings", open=False):
                self.basics = BasicControls()
            with gr.Accordion("Plan", open=False, elem_id="story-plan"):
                gr.Markdown(
                    "What each frame shows, to be changed before it is drawn. Without one here, the server plans."
                )
                self.plan = gr.Button("Plan it", size="sm")
                self.scenes = gr.Dataframe(
                    headers=["caption", "prompt"],
                    column_count=(2, "fixed"),
                    type="array",
                    interactive=True,
                    wrap=True,
                    elem_id="story-scenes",
                )
                CodePanel("plan", self.given, self._read_plan, ("curl",), "Copy the plan's request as code")

    @property
    def given(self) -> set[Any]:
        own = {self.story, self.model, self.count, self.seed, self.locked, self.scenes}
        return {*own, *self.alike.inputs, *self.basics.components}

    def read(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the API's name and its parameters, with the seed that is shown."""
        scenes = _scenes(given[self.scenes])
        frames = {"scenes": scenes} if scenes else {"num_frames": int(given[self.count])}
        return STORY, {**self._shared(given), **frames, "seed": int(given[self.seed] or 0)}

    def _read_plan(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the request for a plan; it has a seed, which a language model may use."""
        return PLAN, {**self._shared(given), "num_frames": int(given[self.count]), "seed": int(given[self.seed] or 0)}

    def _shared(self, given: dict[Any, Any]) -> dict[str, Any]:
        own = {"prompt": given[self.story], "model": given[self.model]}
        return {**own, **self.alike.read(given), **self.basics.read(given)}

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        used: dict[str, Any] = {}
        display = StoryProgressDisplay()

        def asked() -> tuple[str, dict[str, Any]]:
            api, parameters = self.read(given)
            used.update(parameters, seed=parameters["seed"] if given[self.locked] else new_seed())
            return api, used

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            code = self._code.texts(request, STORY, used)
            shown = self._shown(*DrawnStory.of(used, files, display))
            return {**shown, **dict(zip(self._code.outputs, code, strict=True))}

        yield {
            self.frames: gr.Gallery(visible=False),
            self.files: gr.File(visible=False),
            self.redraw: gr.Button(visible=False),
        }
        async for update in self._studio.drawn(request, asked, show, self.seed, display):
            yield update

    async def _plan(self, given: dict[Any, Any], request: gr.Request) -> list[Any]:
        """Return the server's plan as an editable table."""
        _, parameters = self._read_plan(given)
        call: ApiCall[list[list[str]]] = ApiCall("POST", "/storyboard/plan", _rows, body_of(parameters))
        try:
            return [await self._page.server.connection(request).send(call), hints_html()]
        except (Refused, Unreachable) as error:
            return [gr.skip(), hints_html(str(error), error=True)]

    async def _redraw(
        self, drawn: DrawnStory, number: int, request: gr.Request
    ) -> AsyncGenerator[dict[Any, Any], None]:
        """Draw one frame again with another seed, in place of the old one; then a new sheet."""
        story = drawn

        def asked() -> tuple[str, dict[str, Any]]:
            api, parameters = drawn.again(number)
            return api, {**parameters, "seed": new_seed()}

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            nonlocal story
            story = drawn.with_frame(number, files[0])
            return {self.frames: gr.Gallery(list(map(str, story.frames)))}

        yield {self.redraw: gr.Button(interactive=False)}
        async for update in self._studio.drawn(request, asked, show):
            yield update
        yield {self.redraw: gr.Button(interactive=True)}
        if story is not drawn:
            try:
                sheet, hint = await self._sheet(story, request), None
            except (Refused, Unreachable) as error:
                sheet, hint = None, hints_html(f"There is no new sheet: {error}", error=True)
            yield await asyncio.to_thread(self._shown, story, sheet) | ({self._studio.hints: hint} if hint else {})

    async def _sheet(self, drawn: DrawnStory, request: gr.Request) -> Path:
        """Return the server's sheet of a story's frames. Raises Refused and Unreachable."""
        fields = {"prompt": drawn.prompt, "captions": drawn.captions, "images": drawn.frames}
        call: ApiCall[bytes] = ApiCall("POST", "/storyboard/sheet", lambda answer: answer.content, body_of(fields))
        data = await self._page.server.connection(request).send(call)
        file = new_folder() / "sheet.png"
        file.write_bytes(data)
        return file

    def _shown(self, drawn: DrawnStory, sheet: Path | None) -> dict[Any, Any]:
        return {
            self.drawn: drawn,
            self.frames: gr.Gallery(list(map(str, drawn.frames)), visible=True),
            self.redraw: gr.Button("Choose a frame to draw it again", interactive=False, visible=True),
            self.files: gr.File(list(map(str, drawn.to_keep(sheet))), visible=True),
        }

    def _models_known(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, *TASKS)
        first = found[0] if found else None
        return [gr.Dropdown(choices=choices(found), value=first and first.id), *self._followed(first)]

    def _model_chosen(self, models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
        return self._followed(chosen(models, model_id))

    def _followed(self, model: Model | None) -> list[Any]:
        task = next((each for each in TASKS if model is not None and each in model.tasks), None)
        if model is None or task is None:
            return [*self.alike.followed(None), *[gr.skip()] * len(self.basics.components)]
        return [*self.alike.followed(model), *self.basics.limited(model, task)]


def _frame_chosen(event: gr.SelectData) -> list[Any]:
    number = event.index + 1
    return [number, gr.Button(f"Draw frame {number} again", interactive=True)]


def _no_plan() -> list[list[str]]:
    """Clear the plan, which belongs to another story."""
    return []


def _rows(answer: Any) -> list[list[str]]:
    return [[scene["caption"], scene["prompt"]] for scene in answer.json()["scenes"]]


def _scenes(rows: list[list[str]] | None) -> list[dict[str, str]]:
    """Return the rows of the plan that say what to draw."""
    return [
        {"caption": caption or "", "prompt": prompt} for caption, prompt, *_ in rows or () if (prompt or "").strip()
    ]
