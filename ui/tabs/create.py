"""Create: an image from a prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import gradio as gr

from client.errors import Refused, Unreachable
from client.results import Job, Model
from ui.conditions import Conditions
from ui.drawing import draw
from ui.page import Page, able, choices, chosen
from ui.settings import Settings
from ui.stage import EMPTY, ended, hints

TASK, API = "text-to-image", "text_to_image"
EXAMPLES = (
    ("a red apple on a blue background", 1),
    ("a fox on a green background", 7),
    ("a castle on a purple background", 3),
    ("a star on a purple background", 3),
    ("a sailboat on a blue background", 5),
)
"""Prompts in the words of the embedded model, with seeds that suit them."""


def create_tab(page: Page) -> None:
    """Lay it out."""
    _Create(page)


class _Create:
    def __init__(self, page: Page) -> None:
        self._page = page
        self.job = gr.State(None)
        with gr.Row():
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=6, min_width=300, elem_classes="results"):
                self._lay_out_results()
        page.when_opened(self._models_known, [self.model, self.negative, self.examples])
        self._connect()

    def _lay_out_request(self) -> None:
        self.prompt = gr.Textbox(
            label="Prompt", lines=3, max_lines=8, placeholder="What do you want to see?", elem_id="prompt"
        )
        with gr.Row(elem_classes="examples", visible=False) as self.examples:
            self.example_buttons = [
                (gr.Button(prompt, size="sm", min_width=120), prompt, seed) for prompt, seed in EXAMPLES
            ]
        self.hints = gr.HTML(hints())
        with gr.Row():
            self.draw = gr.Button("Draw", variant="primary", elem_id="draw")
            self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            self.negative = gr.Textbox(label="Negative prompt", placeholder="What to keep out", lines=1)
            with gr.Accordion("Settings", open=True):
                self.settings = Settings(self._page, self.model, TASK)
            self.conditions = Conditions(self._page, self.model, TASK)

    def _lay_out_results(self) -> None:
        self.stage = gr.HTML(EMPTY, elem_id="stage")
        self.gallery = gr.Gallery(
            label="Images",
            columns=2,
            object_fit="contain",
            height=480,
            visible=False,
            interactive=False,
            buttons=["download", "fullscreen"],
            elem_id="images",
        )

    @property
    def given(self) -> set[Any]:
        return {self.prompt, self.negative, self.model, *self.settings.inputs, *self.conditions.inputs}

    def read(self, given: dict[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters."""
        return {
            "prompt": given[self.prompt],
            "model": given[self.model],
            "negative_prompt": given[self.negative] or None,
            **self.settings.read(given),
            **self.conditions.read(given),
        }

    def _connect(self) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown = [self.stage, self.gallery, self.hints, self.settings.seed, self.job, self.draw, self.cancel]
        drawing: dict[str, Any] = {"inputs": self.given, "outputs": shown, **quiet}
        gr.on([self.draw.click, self.prompt.submit], self._draw, **drawing)
        for button, prompt, seed in self.example_buttons:
            taken = button.click(
                lambda prompt=prompt, seed=seed: (prompt, seed, True),
                None,
                [self.prompt, self.settings.seed, self.settings.locked],
                **quiet,
            )
            taken.then(self._draw, **drawing)
        self.cancel.click(self._cancel, self.job, self.stage, **quiet)
        self.model.change(self._model_chosen, [self._page.models, self.model], self.negative, **quiet)

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        parameters = self.read(given)
        yield {
            self.hints: hints(),
            self.settings.seed: parameters["seed"],
            self.draw: gr.Button(interactive=False),
            self.cancel: gr.Button(interactive=True),
        }
        try:
            async with aclosing(draw(self._page.server.client(request), API, parameters)) as drawings:
                async for each in drawings:
                    yield {self.stage: each.stage, self.hints: hints(each.hint), self.job: each.job}
            if each.files:
                yield {self.gallery: gr.Gallery([(str(file), file.stem) for file in each.files], visible=True)}
        except (Refused, Unreachable) as error:
            yield {self.stage: ended("Nothing was drawn."), self.hints: hints(str(error), error=True)}
        yield {self.draw: gr.Button(interactive=True), self.cancel: gr.Button(interactive=False)}

    async def _cancel(self, job: Job | None, request: gr.Request) -> Any:
        if job is None:
            return gr.skip()
        try:
            await self._page.server.client(request).cancel(job)
        except (Refused, Unreachable) as error:
            return ended(str(error))
        return gr.skip()

    def _models_known(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, TASK)
        first = found[0] if found else None
        return [
            gr.Dropdown(choices=choices(found), value=first and first.id),
            self._negative_of(first),
            gr.Row(visible=_knows_examples(found[:1])),
        ]

    def _model_chosen(self, models: list[dict[str, Any]], model_id: str | None) -> Any:
        return self._negative_of(chosen(models, model_id))

    def _negative_of(self, model: Model | None) -> Any:
        return gr.Textbox(visible=model is None or bool(model.fields["negative_prompt"]))


def _knows_examples(models: Sequence[Model]) -> bool:
    """Whether examples in few words suit the first model: those that know every word need none of ours."""
    words = {word for prompt, _ in EXAMPLES for word in prompt.split()}
    return all(words <= set(model.fields["vocabulary"] or ()) for model in models)
