"""The videos that move the figure in an image, for models that take them: poses, a face, and a background."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from client.results import Model
from ui.generating.panel import NothingToDraw
from ui.request.figure_videos import LABELS, lacking

ABOUT = (
    "The figure in the image takes the poses, and the expressions of the face, frame by frame. With a background and "
    "its mask, it stands there instead of what is white in the mask."
)


class FigureControls:
    """Four files, laid out here."""

    def __init__(self) -> None:
        with gr.Column(visible=False) as self.part:
            gr.Markdown(ABOUT)
            # Not Gradio's component for videos: it has FFmpeg re-encode what a browser cannot play.
            with gr.Row():
                poses, face = _file("pose_video"), _file("face_video")
            with gr.Row():
                background, mask = _file("background_video"), _file("mask_video")
        self.files = dict(zip(LABELS, (poses, face, background, mask), strict=True))

    def read(self, given: Mapping[Any, Any], model: Model | None) -> dict[str, str]:
        """Return the API's parameters. Raises NothingToDraw if a video that the model needs is missing."""
        if model is None or model.animation is None:
            return {}
        files = {name: given[file] for name, file in self.files.items() if given[file]}
        if said := lacking(model.animation, files):
            raise NothingToDraw(said)
        return files

    def followed(self, model: Model) -> gr.Column:
        """Show the controls only for a model that takes videos."""
        return gr.Column(visible=model.animation is not None)

    def filled(self, model: Model, parameters: Mapping[str, Any]) -> dict[Any, Any]:
        """Return the controls as a request had them."""
        return {self.part: self.followed(model), **{file: parameters.get(name) for name, file in self.files.items()}}


def _file(name: str) -> gr.File:
    return gr.File(label=LABELS[name], file_types=["video", ".gif"], height=140, elem_id=f"video-{name}")
