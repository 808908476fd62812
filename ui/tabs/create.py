"""Create: an image from a prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import gradio as gr

from client.results import Model
from ui.generating.panel import Studio, gallery, shown_in
from ui.page import QUIET, PageLayout, able, choices, chosen, earlier_or_first
from ui.request.conditions import KNOWN as CONDITIONS
from ui.request.conditions import Conditions
from ui.request.controls import KNOWN, Controls
from ui.reuse import Reuse
from ui.snippets.code_panel import CodePanel

TASK, API = "text-to-image", "text_to_image"
EXAMPLES = (
    ("a red apple on a blue background", 1),
    ("a fox on a green background", 7),
    ("a castle on a purple background", 3),
    ("a star on a purple background", 3),
    ("a sailboat on a blue background", 5),
)
"""Prompts in the words of the embedded model, with seeds that suit them."""


def create_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Create(page)


class _Create:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self._studio = Studio(page, "create")
        with gr.Row():
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=6, min_width=300, elem_classes="results"):
                self._studio.lay_out_stage()
                self._images = gallery("create")
                self._code = CodePanel("create", self.given, lambda given: (API, self.read(given)))
        page.keep_states(self.model, TASK)
        page.when_opened(self._models_known, [self.model, self.negative, self._examples])
        self.model.input(_model_chosen, [page.models, self.model], self.negative, **QUIET)
        vary = gr.State(0)
        filled = [self.prompt, self.negative, self.model, *self.controls.outputs, *self.conditions.outputs]
        knows = ("prompt", "negative_prompt", *KNOWN, *CONDITIONS)
        page.reuses.append(Reuse("Create", [TASK], filled, self._filled, knows, self._studio.hints, vary))
        self._connect(vary)

    def _lay_out_request(self) -> None:
        self.prompt = gr.Textbox(label="Prompt", lines=3, max_lines=8, placeholder="What do you want to see?")
        with gr.Row(elem_classes="examples", visible=False) as self._examples:
            self._example_buttons = [
                (gr.Button(prompt, size="sm", min_width=120), prompt, seed) for prompt, seed in EXAMPLES
            ]
        self._studio.lay_out_buttons()
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.negative = gr.Textbox(label="Negative prompt", placeholder="What to keep out", lines=1)
            with gr.Accordion("Settings", open=True):
                self.controls = Controls(self._page, self.model, [TASK])
            self.conditions = Conditions(self._page, self.model, TASK)

    @property
    def given(self) -> set[Any]:
        return {self.prompt, self.negative, self.model, *self.controls.inputs, *self.conditions.inputs}

    def read(self, given: dict[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters."""
        return {
            "prompt": given[self.prompt],
            "model": given[self.model],
            "negative_prompt": given[self.negative] or None,
            **self.controls.read(given),
            **self.conditions.read(given),
        }

    def _connect(self, vary: gr.State) -> None:
        starts = [self._studio.start.click, self.prompt.submit, vary.change]
        self._write_after(gr.on(starts, self._draw, self.given, self._outputs, **QUIET))
        for button, prompt, seed in self._example_buttons:
            taken = button.click(
                lambda prompt=prompt, seed=seed: (prompt, seed, True),
                None,
                [self.prompt, self.controls.seed, self.controls.locked],
                **QUIET,
            )
            self._write_after(taken.then(self._draw, self.given, self._outputs, **QUIET))

    @property
    def _outputs(self) -> list[Any]:
        return self._studio.outputs(self.controls.seed, self._images)

    def _write_after(self, event: Any) -> None:
        event.then(self._code.written, self.given, self._code.outputs, **QUIET)

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        def asked() -> tuple[str, dict[str, Any]]:
            return API, {**self.read(given), "seed": self.controls.next_seed(given)}

        async for update in self._studio.drawn(
            request, asked, lambda files: shown_in(self._images, files), self.controls.seed
        ):
            yield update

    def _models_known(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, TASK)
        first = found[0] if found else None
        return [
            gr.Dropdown(choices=choices(found), value=first and first.id),
            _negative_of(first),
            gr.Row(visible=_knows_examples(found[:1])),
        ]

    def _filled(self, models: Sequence[dict[str, Any]], parameters: dict[str, Any], locked: bool) -> dict[Any, Any]:
        """Return the tab as a request had it, with the first model if its own is not served here."""
        model = earlier_or_first(able(models, TASK), parameters.get("model"))
        if model is None:
            return {}
        negative = parameters.get("negative_prompt", "")
        return {
            self.prompt: parameters["prompt"],
            self.negative: gr.Textbox(negative, visible=bool(model.fields["negative_prompt"])),
            self.model: model.id,
            **self.controls.filled(model, parameters, locked=locked),
            **self.conditions.filled(model, parameters),
        }


def _model_chosen(models: list[dict[str, Any]], model_id: str | None) -> Any:
    return _negative_of(chosen(models, model_id))


def _negative_of(model: Model | None) -> Any:
    return gr.Textbox(visible=model is None or bool(model.fields["negative_prompt"]))


def _knows_examples(models: Sequence[Model]) -> bool:
    """Whether the models have vocabularies that include all of the examples' words."""
    words = {word for prompt, _ in EXAMPLES for word in prompt.split()}
    return bool(models) and all(words <= set(model.fields["vocabulary"] or ()) for model in models)
