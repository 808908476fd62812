"""Edit: repaint a painted part of an image, change all of it, or edit by instruction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from client.results import Model
from ui.generating.panel import Studio, gallery, shown_in
from ui.page import QUIET, PageLayout, able, choices, chosen, earlier_or_first
from ui.request.canvas import Canvas
from ui.request.controls import KNOWN, Controls
from ui.reuse import Reuse
from ui.snippets.code_panel import CodePanel

WAYS = {
    "inpaint": "Repaint what I paint over",
    "image-to-image": "Change all of it",
    "edit": "Follow an instruction",
}
"""The label of each task."""
APIS = {"inpaint": "inpaint", "image-to-image": "image_to_image", "edit": "edit"}


def edit_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Edit(page)


class _Edit:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self._studio = Studio(page, "edit")
        self._after = gr.State(None)
        with gr.Row():
            with gr.Column(scale=6, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=5, min_width=300, elem_classes="results"):
                self._lay_out_results()
        self._following = [self.way, self.strength, self.more, self.canvas.masking, self.canvas.extending]
        page.keep_states(self.model, *WAYS)
        page.when_opened(self._models_known, [self.model, *self._following])
        self.model.input(self._model_chosen, [page.models, self.model], self._following, **QUIET)
        self.way.input(self._way_chosen, [page.models, self.model, self.way], self._following, **QUIET)
        self._connect()

    def _lay_out_request(self) -> None:
        self.canvas = Canvas()
        self.way = gr.Radio([], label="What to do", elem_id="edit-way")
        self.more = gr.Gallery(
            label="More images, which the instruction can name by number",
            type="filepath",
            interactive=True,
            height=160,
            columns=4,
            visible=False,
        )
        self.prompt = gr.Textbox(label="Prompt", lines=2, max_lines=6, placeholder="What should be there?")
        self._studio.lay_out_buttons()
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.strength = gr.Slider(0, 1, 0.8, step=0.01, label="Strength", info="How much of it may change.")
            with gr.Accordion("Settings", open=False):
                self.controls = Controls(self._page, self.model, list(WAYS), sized=False)

    def _lay_out_results(self) -> None:
        self._studio.lay_out_stage()
        self._compared = gr.ImageSlider(
            label="Before and after",
            type="filepath",
            format="png",
            interactive=False,
            visible=False,
            elem_id="edit-compared",
        )
        self._images = gallery("edit")
        self._go_on = gr.Button("Go on with the first result", visible=False)
        self._code = CodePanel("edit", self.given, self.read, layered=self._layered)

    @property
    def given(self) -> set[Any]:
        own = {self.way, self.more, self.prompt, self.model, self.strength, self._page.models}
        return {*own, *self.canvas.inputs, *self.controls.inputs}

    def read(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the API's name and its parameters. Raises NothingToDraw."""
        way = given[self.way]
        edited = self.canvas.read(given, masked=way == "inpaint")
        shared = {"prompt": given[self.prompt], "model": given[self.model], **self.controls.read(given)}
        if way == "edit":
            return APIS[way], {**shared, "images": [str(edited.image), *(path for path, _ in given[self.more] or ())]}
        mask = {"mask": str(edited.mask)} if edited.mask else {}
        return APIS[way], {**shared, "image": str(edited.image), **mask, "strength": float(given[self.strength])}

    def _layered(self, given: dict[Any, Any]) -> bool:
        model = chosen(given[self._page.models], given[self.model])
        return model is not None and bool(model.fields["layered"])

    def _connect(self) -> None:
        vary = gr.State(0)
        filled = [self.prompt, self.model, *self.canvas.outputs, *self._following, *self.controls.outputs]
        knows = ("prompt", "strength", *KNOWN)
        self._page.reuses.append(Reuse("Edit", WAYS, filled, self._filled, knows, self._studio.hints, vary))
        results = [self._compared, self._images, self._go_on, self._after, *self._code.outputs]
        outputs = self._studio.outputs(self.controls.seed, *results)
        starts = [self._studio.start.click, self.prompt.submit, vary.change]
        gr.on(starts, self._draw, self.given, outputs, **QUIET)
        self._go_on.click(_as_background, self._after, self.canvas.editor, **QUIET)

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        used: dict[str, Any] = {}

        def asked() -> tuple[str, dict[str, Any]]:
            api, parameters = self.read(given)
            used.update(parameters, seed=self.controls.next_seed(given))
            return api, used

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            before = used.get("image") or used["images"][0]
            code = self._code.texts(request, APIS[given[self.way]], used, self._layered(given))
            return {
                self._compared: gr.ImageSlider((before, str(files[0])), visible=True),
                **shown_in(self._images, files),
                self._go_on: gr.Button(visible=True),
                self._after: str(files[0]),
                **dict(zip(self._code.outputs, code, strict=True)),
            }

        async for update in self._studio.drawn(request, asked, show, self.controls.seed):
            yield update

    def _filled(self, models: Sequence[dict[str, Any]], parameters: dict[str, Any], locked: bool) -> dict[Any, Any]:
        """Return the tab as a request had it, with the first model if its own is not served here."""
        way = parameters["task"]
        model = earlier_or_first(able(models, way), parameters.get("model"))
        if model is None:
            return {}
        image, *more = parameters.get("images") or [parameters.get("image")]
        followed = dict(zip(self._following, _followed(model, way), strict=True))
        strength = {self.strength: gr.Slider(value=parameters["strength"], visible=True)}
        return {
            self.prompt: parameters["prompt"],
            self.model: model.id,
            **followed,
            **(strength if "strength" in parameters else {}),
            self.more: gr.Gallery(more, visible=way == "edit"),
            **self.canvas.filled(image, parameters.get("mask")),
            **self.controls.filled(model, parameters, locked=locked),
        }

    def _models_known(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, *WAYS)
        first = found[0] if found else None
        return [gr.Dropdown(choices=choices(found), value=first and first.id), *_followed(first)]

    def _model_chosen(self, models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
        return _followed(chosen(models, model_id))

    def _way_chosen(self, models: list[dict[str, Any]], model_id: str | None, way: str) -> list[Any]:
        return _followed(chosen(models, model_id), way)


def _followed(model: Model | None, way: str | None = None) -> list[Any]:
    """Return the controls for the chosen model and task."""
    ways = [task for task in WAYS if model is not None and task in model.tasks]
    way = way if way in ways else next(iter(ways), None)
    defaults = model.tasks[way]["defaults"] if model is not None and way is not None else {}
    return [
        gr.Radio(choices=[(WAYS[task], task) for task in ways], value=way),
        gr.Slider(value=defaults.get("strength", 1.0), visible="strength" in defaults),
        gr.Gallery(visible=way == "edit"),
        gr.Row(visible=way == "inpaint"),
        gr.Accordion(visible=way == "inpaint"),
    ]


def _as_background(file: str | None) -> Any:
    return {"background": file, "layers": [], "composite": file} if file else gr.skip()
