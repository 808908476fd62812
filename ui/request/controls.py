"""The controls that all tabs share: size, steps, guidance, sampler, seed, within the chosen model's limits."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from client.results import Model
from ui.page import QUIET, PageLayout, able, chosen
from ui.request.basics import BasicControls
from ui.reuse import made_together

MAX_SEED = 2**32 - 1
"""The largest seed that the page chooses; the API takes larger ones too."""
CACHES = [
    ("as the server is set", ""),
    ("off", "off"),
    ("quality", "quality"),
    ("fast", "fast"),
    ("only when busy", "auto"),
]
UPSCALES = [("as it is drawn", 0), ("2 times as large", 2), ("4 times as large", 4)]
MOST_IMAGES = 8
KNOWN = ("width", "height", "num_inference_steps", "guidance_scale", "scheduler", "step_cache", "upscale")
"""The parameters that these controls take from an earlier request."""


def new_seed() -> int:
    return random.SystemRandom().randint(0, MAX_SEED)


class Controls:
    """Sliders, menus and the seed, for these `tasks`, such as `text-to-image`; the first that a model does sets the
    limits.
    """

    def __init__(
        self, page: PageLayout, model: gr.Dropdown, tasks: Sequence[str], sized: bool = True, upscaled: bool = True
    ) -> None:
        """Lay the controls out here.

        `sized` is whether the size is chosen, rather than taken from an image; `upscaled` whether results may be
        upscaled.
        """
        self._tasks = tasks
        self._basics = BasicControls(sized)
        with gr.Row():
            self.seed = gr.Number(new_seed, label="Seed", precision=0, minimum=0, scale=3)
            self.dice = gr.Button("⚄ New seed", size="sm", scale=1, min_width=110)
            self.locked = gr.Checkbox(False, label="Keep it", scale=1, min_width=110)
        with gr.Row():
            self.scheduler = gr.Dropdown([], label="Sampler", min_width=200)
            self.count = gr.Slider(1, MOST_IMAGES, 1, step=1, label="Images")
            self.upscale = gr.Dropdown(UPSCALES, value=0, label="Size of the result", visible=upscaled, min_width=140)
            self.cache = gr.Dropdown(CACHES, value="", label="Step cache", info="Leaves steps out.", min_width=140)
        self.dice.click(new_seed, None, self.seed, **QUIET)
        self._limited = [*self._basics.components, self.scheduler, self.cache]
        page.when_opened(self._first, self._limited)
        model.input(self._changed, [page.models, model], self._limited, **QUIET)

    @property
    def inputs(self) -> set[Any]:
        """The components that `read` reads."""
        return {*self._limited, self.seed, self.locked, self.count, self.upscale}

    def read(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters, with the seed that is shown."""
        return {
            **self._basics.read(given),
            "scheduler": given[self.scheduler],
            "seed": int(given[self.seed] or 0),
            "num_images": int(given[self.count]) if given[self.count] > 1 else None,
            "upscale": given[self.upscale] or None,
            "step_cache": given[self.cache] or None,
        }

    def next_seed(self, given: Mapping[Any, Any]) -> int:
        """Return the seed to draw with: a new one, unless the seed is locked."""
        return int(given[self.seed] or 0) if given[self.locked] else new_seed()

    @property
    def outputs(self) -> list[Any]:
        """The components that `filled` fills."""
        return [*self._limited, self.seed, self.locked, self.count, self.upscale]

    def filled(self, model: Model, parameters: Mapping[str, Any], *, locked: bool) -> dict[Any, Any]:
        """Return the controls as a request had them; unless `locked`, the next drawing has a new seed."""
        updates = dict(zip(self._limited, self._limits(model, parameters), strict=True))
        count = made_together(parameters, model.fields["layered"])
        own = {
            self.count: gr.Slider(maximum=max(MOST_IMAGES, count), value=count),
            self.upscale: parameters.get("upscale", 0),
        }
        return {**updates, **own, self.seed: parameters.get("seed", new_seed()), self.locked: locked}

    def _first(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, *self._tasks)
        return self._limits(found[0] if found else None)

    def _changed(self, models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
        return self._limits(chosen(models, model_id))

    def _limits(self, model: Model | None, given: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the controls with the limits of the model's task, and its defaults where nothing is given."""
        tasks = [each for each in self._tasks if model is not None and each in model.tasks]
        if model is None or not tasks:
            return [gr.skip()] * len(self._limited)
        values = {"step_cache": "", **model.tasks[tasks[0]]["defaults"], **(given or {})}
        return [
            *self._basics.limited(model, tasks[0], given),
            gr.Dropdown(choices=model.fields["schedulers"], value=values["scheduler"]),
            gr.Dropdown(value=values["step_cache"], visible=bool(model.fields["step_cache"])),
        ]
