"""The image to edit: painted over with a brush to make a mask, and extended at its sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageOps

from ui.generating.panel import NothingToDraw
from ui.request.masks import extended, painted, painting
from ui.temporary_files import new_folder

EXTENDED_PX, EXTENDED_STEP_PX = 512, 16
COLOUR = "#e0795f"
"""Of the brush."""


@dataclass(frozen=True)
class Edited:
    """The files of an image, and of the mask over it: white is repainted."""

    image: Path
    mask: Path | None


class Canvas:
    def __init__(self) -> None:
        """Lay it out here."""
        self.editor = gr.ImageEditor(
            label="Image",
            type="pil",
            image_mode="RGBA",
            format="png",
            sources=["upload", "clipboard"],
            transforms=(),
            layers=False,
            brush=gr.Brush(colors=[COLOUR], color_mode="fixed"),
            height=440,
            elem_id="edit-canvas",
        )
        with gr.Row() as self.masking:
            self.inverted = gr.Checkbox(False, label="Repaint what is not painted over", min_width=140)
        with gr.Accordion("Extend the image", open=False) as self.extending, gr.Row():
            self.sides = [
                gr.Slider(0, EXTENDED_PX, 0, step=EXTENDED_STEP_PX, label=f"{side}, pixels", min_width=130)
                for side in ("Left", "Top", "Right", "Bottom")
            ]

    @property
    def inputs(self) -> set[Any]:
        return {self.editor, self.inverted, *self.sides}

    @property
    def outputs(self) -> list[Any]:
        """The components that `filled` fills."""
        return [self.editor, self.inverted, *self.sides]

    def filled(self, image: str | None, mask: str | None) -> dict[Any, Any]:
        """Return the canvas with an image, painted over where the mask is white; empty without an image."""
        value: dict[str, Any] | None = None
        if image:
            layers = [painting(Image.open(mask), COLOUR)] if mask else []
            value = {"background": image, "layers": layers, "composite": None}
        return {self.editor: value, self.inverted: False, **dict.fromkeys(self.sides, 0)}

    def read(self, given: Mapping[Any, Any], masked: bool) -> Edited:
        """Write the files; `masked` is whether a mask is required. Raises NothingToDraw."""
        drawn = given[self.editor]
        if drawn is None or drawn["background"] is None:
            raise NothingToDraw("Choose an image first.")
        image = drawn["background"].convert("RGB")
        folder = new_folder()
        mask = self._mask(given, image.size, drawn["layers"]) if masked else None
        if mask is not None:
            borders = tuple(int(given[side]) for side in self.sides)
            image, mask = extended(image, mask, borders)
            if mask.getbbox() is None:
                raise NothingToDraw("Paint over what is to change, or extend the image.")
            mask.save(folder / "mask.png")
        image.save(folder / "image.png")
        return Edited(folder / "image.png", folder / "mask.png" if mask is not None else None)

    def _mask(self, given: Mapping[Any, Any], size: tuple[int, int], layers: list[Image.Image]) -> Image.Image:
        mask = painted(layers, size)
        return ImageOps.invert(mask) if given[self.inverted] else mask
