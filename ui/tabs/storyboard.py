"""Storyboard: a story becomes frames, which appear as they are drawn."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from client.calls import Call, body_of
from client.errors import Refused, Unreachable
from ui.code import CodePanel
from ui.files import new_folder
from ui.generating.panel import Studio, gallery
from ui.generating.stage import hints
from ui.generating.story_stage import StoryStage
from ui.page import QUIET, Page, able, choices
from ui.parameters import parameters_of
from ui.request.settings import new_seed
from ui.snippets.said import PLAN, STORY

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
TASK = "text-to-image"


def storyboard_tab(page: Page) -> None:
    """Lay it out."""
    _Storyboard(page)


@dataclass(frozen=True)
class _Drawn:
    """A story that is drawn."""

    model: str
    frames: list[Path]


class _Storyboard:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._studio = Studio(page, "story")
        self.drawn = gr.State(None)
        self.chosen = gr.State(None)
        """The number of the frame that is to be drawn again."""
        with gr.Row():
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=8, min_width=300, elem_classes="results"):
                self._studio.lay_out_stage()
                self.frames = gallery("story", "Frames", columns=4)
                self.redraw = gr.Button("Choose a frame to draw it again", interactive=False, visible=False)
                self.files = gr.File(label="Download", file_count="multiple", visible=False, elem_id="story-files")
                self._code = CodePanel("story", self.given, self.read)
        page.keep_states(self.model, TASK)
        page.when_opened(self._models_known, [self.model])
        self._connect()

    def _connect(self) -> None:
        outputs = self._studio.outputs(self.seed, self.frames, self.files, self.redraw, self.drawn, *self._code.outputs)
        gr.on([self._studio.start.click, self.story.submit], self._draw, self.given, outputs, **QUIET)
        self.frames.select(_frame_chosen, None, [self.chosen, self.redraw], **QUIET)
        self.redraw.click(self._redraw, [self.drawn, self.chosen], outputs, **QUIET)
        self.plan.click(self._plan, self.given, [self.scenes, self._studio.hints], **QUIET)
        taken = self.example.click(lambda: EXAMPLE, None, self.story, **QUIET)
        taken.then(_no_plan, None, self.scenes, **QUIET)
        gr.on([self.story.input, self.count.release], _no_plan, None, self.scenes, **QUIET)

    def _lay_out_request(self) -> None:
        self.story = gr.Textbox(label="Story", lines=5, max_lines=12, placeholder="Once upon a time ...")
        self.example = gr.Button("Use an example", size="sm")
        self._studio.lay_out_buttons()
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.count = gr.Slider(FEWEST_FRAMES, MOST_FRAMES, 8, step=1, label="Frames")
            self.guided = gr.Checkbox(False, label="Take the first frame as the reference of all others")
            with gr.Row():
                self.seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0)
                self.locked = gr.Checkbox(False, label="Keep it")
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
        return {self.story, self.model, self.count, self.guided, self.seed, self.locked, self.scenes}

    def read(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the API's name and its parameters, with the seed that is shown."""
        scenes = _scenes(given[self.scenes])
        frames = {"scenes": scenes} if scenes else {"num_frames": int(given[self.count])}
        return STORY, {**self._told(given), **frames, "seed": int(given[self.seed] or 0)}

    def _read_plan(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the request of a plan; with a seed, since a language model may plan."""
        return PLAN, {**self._told(given), "num_frames": int(given[self.count]), "seed": int(given[self.seed] or 0)}

    def _told(self, given: dict[Any, Any]) -> dict[str, Any]:
        guided = given[self.guided] or None
        return {"prompt": given[self.story], "model": given[self.model], "use_ref_guided": guided}

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        used: dict[str, Any] = {}

        def asked() -> tuple[str, dict[str, Any]]:
            api, parameters = self.read(given)
            used.update(parameters, seed=parameters["seed"] if given[self.locked] else new_seed())
            return api, used

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            *frames, sheet = files
            code = self._code.texts(request, STORY, used)
            shown = self._shown(_Drawn(used["model"], frames), sheet)
            return {**shown, **dict(zip(self._code.outputs, code, strict=True))}

        yield {
            self.frames: gr.Gallery(visible=False),
            self.files: gr.File(visible=False),
            self.redraw: gr.Button(visible=False),
        }
        async for update in self._studio.drawn(request, asked, show, self.seed, StoryStage()):
            yield update

    async def _plan(self, given: dict[Any, Any], request: gr.Request) -> list[Any]:
        """Return the server's plan as a table, of which each row can be changed."""
        _, parameters = self._read_plan(given)
        call: Call[list[list[str]]] = Call("POST", "/storyboard/plan", _rows, body_of(parameters))
        try:
            return [await self._page.server.connection(request).send(call), hints()]
        except (Refused, Unreachable) as error:
            return [gr.skip(), hints(str(error), error=True)]

    async def _redraw(self, drawn: _Drawn, number: int, request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        """Draw one frame with another seed, in place of what it was."""

        def asked() -> tuple[str, dict[str, Any]]:
            return "text_to_image", {**_again(drawn, number), "seed": new_seed()}

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            (frame,) = files
            frames = [frame if place == number else other for place, other in enumerate(drawn.frames, 1)]
            # The sheet shows the frame as it was.
            return self._shown(replace(drawn, frames=frames), None)

        yield {self.redraw: gr.Button(interactive=False)}
        async for update in self._studio.drawn(request, asked, show):
            yield update
        yield {self.redraw: gr.Button(interactive=True)}

    def _shown(self, drawn: _Drawn, sheet: Path | None) -> dict[Any, Any]:
        return {
            self.drawn: drawn,
            self.frames: gr.Gallery(list(map(str, drawn.frames)), visible=True),
            self.redraw: gr.Button("Choose a frame to draw it again", interactive=False, visible=True),
            self.files: gr.File(list(map(str, _to_keep(drawn.frames, sheet))), visible=True),
        }

    def _models_known(self, models: list[dict[str, Any]]) -> Any:
        found = able(models, TASK)
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
