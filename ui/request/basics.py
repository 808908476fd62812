"""Size, steps and guidance, as a model's task allows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from client.results import Model


class BasicControls:
    """Four sliders, laid out here; `sized` is whether the size is chosen, rather than taken from an image."""

    def __init__(self, sized: bool = True) -> None:
        self._sized = sized
        with gr.Row():
            self.width = gr.Slider(64, 1024, 128, step=8, label="Width", visible=sized)
            self.height = gr.Slider(64, 1024, 128, step=8, label="Height", visible=sized)
        with gr.Row():
            self.steps = gr.Slider(1, 50, 20, step=1, label="Steps", info="More take longer, and look better.")
            self.guidance = gr.Slider(0, 20, 3, step=0.1, label="Guidance", info="How closely to follow the prompt.")
        self.components = [self.width, self.height, self.steps, self.guidance]

    def read(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters."""
        size = {"width": int(given[self.width]), "height": int(given[self.height])} if self._sized else {}
        steps, guidance = int(given[self.steps]), float(given[self.guidance])
        return {**size, "num_inference_steps": steps, "guidance_scale": guidance}

    def limited(self, model: Model, task: str, given: Mapping[str, Any] | None = None) -> list[gr.Slider]:
        """Return the components with a task's limits, and its defaults where nothing is given."""
        limits = model.tasks[task]["limits"]
        values = {**model.tasks[task]["defaults"], **(given or {})}
        multiple, smallest = limits["multiple_px"], -(-limits["min_px"] // limits["multiple_px"])
        side = {
            "minimum": smallest * multiple,
            "maximum": limits["max_px"] // multiple * multiple,
            "step": multiple,
            "visible": self._sized,
        }
        lowest, highest = limits["guidance_scale"]
        return [
            gr.Slider(value=values["width"], **side),
            gr.Slider(value=values["height"], **side),
            gr.Slider(value=values["num_inference_steps"], minimum=limits["min_steps"], maximum=limits["max_steps"]),
            gr.Slider(value=values["guidance_scale"], minimum=lowest, maximum=highest),
        ]
