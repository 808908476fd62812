"""How a story's characters are kept consistent: by words, by the first frame, or in edits of their references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from client.results import Model
from ui.page import QUIET

WAYS = {
    "simple": "By their words, and LoRAs",
    "ref_guided": "By the first frame, as the reference of all others",
    "edit": "Each frame is an edit of their references",
}
"""The label of each mode."""


class ConsistencyControls:
    """A menu of the model's modes and, if it edits, the characters; laid out here."""

    def __init__(self) -> None:
        self.mode = gr.Dropdown([], label="Keep the characters alike", filterable=False, elem_id="story-mode")
        with gr.Column(visible=False) as self.cast:
            self.characters = gr.Textbox(
                label="Characters, the main one first",
                info="One a line: the name that the story has, a colon, and what it looks like. Without any, the first "
                "frame is the reference.",
                lines=2,
                max_lines=6,
                placeholder="Aldar: a cheerful man in a red robe",
                elem_id="story-characters",
            )
            self.references = gr.Gallery(
                label="Their images, in the same order; who has none is drawn first",
                type="filepath",
                interactive=True,
                height=160,
                columns=4,
                elem_id="story-references",
            )
        self.mode.input(lambda mode: gr.Column(visible=mode == "edit"), self.mode, self.cast, **QUIET)

    @property
    def inputs(self) -> set[Any]:
        return {self.mode, self.characters, self.references}

    @property
    def following(self) -> list[Any]:
        """The components that depend on the model."""
        return [self.mode, self.cast]

    def read(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters; None for those not given."""
        mode = given[self.mode]
        if mode != "edit":
            return {"mode": mode}
        images = [path for path, _ in given[self.references] or ()]
        return {"mode": mode, "characters": _characters(given[self.characters]) or None, "images": images or None}

    def followed(self, model: Model | None) -> list[Any]:
        """Return the updates of `following` for a model."""
        able = {
            "simple": model is not None and "text-to-image" in model.tasks,
            "ref_guided": model is not None and model.fields["ip_adapter"],
            "edit": model is not None and "edit" in model.tasks,
        }
        ways = [(said, mode) for mode, said in WAYS.items() if able[mode]]
        mode = ways[0][1] if ways else None
        return [gr.Dropdown(choices=ways, value=mode), gr.Column(visible=mode == "edit")]


def _characters(text: str | None) -> list[dict[str, str]]:
    lines = [line.partition(":") for line in (text or "").splitlines()]
    return [{"name": name.strip(), "prompt": looks.strip()} for name, _, looks in lines if name.strip()]
