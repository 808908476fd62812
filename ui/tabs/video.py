"""Video: a clip from a prompt, or from its first and perhaps its last image, or from an image and videos that move its
figure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from client.results import Model
from ui.generating.panel import NothingToDraw, Studio
from ui.page import QUIET, PageLayout, able, choices, chosen, earlier_or_first
from ui.request.controls import KNOWN, Controls
from ui.request.figure_controls import FigureControls
from ui.reuse import Reuse
from ui.snippets.code_panel import CodePanel

FROM_TEXT, FROM_IMAGE = TASKS = ("text-to-video", "image-to-video")
APIS = {FROM_TEXT: "text_to_video", FROM_IMAGE: "image_to_video"}
AS_THE_POSES = 0
"""The sliders' value that means: as the pose video, for models that follow videos."""


def video_tab(page: PageLayout) -> None:
    """Lay it out."""
    _Video(page)


class _Video:
    def __init__(self, page: PageLayout) -> None:
        self._page = page
        self._studio = Studio(page, "video")
        self.none = gr.Markdown("No model that is served here makes videos.", visible=False)
        with gr.Row() as self.part:
            with gr.Column(scale=5, min_width=300, elem_classes="request"):
                self._lay_out_request()
            with gr.Column(scale=6, min_width=300, elem_classes="results"):
                self._studio.lay_out_stage()
                self.clip = gr.Video(
                    label="Video",
                    interactive=False,
                    visible=False,
                    autoplay=True,
                    loop=True,
                    buttons=["download"],
                    elem_id="video-clip",
                )
                self._code = CodePanel("video", self.given, self.read)
        following = [self.image, self.last_image, self.figure.part, self.frames, self.fps]
        page.keep_states(self.model, *TASKS)
        page.when_opened(self._models_known, [self.model, self.none, self.part, *following])
        self.model.input(self._model_chosen, [page.models, self.model], following, **QUIET)
        outputs = self._studio.outputs(self.controls.seed, self.clip, *self._code.outputs)
        vary = gr.State(0)
        filled = [self.prompt, self.model, *following, *self.figure.files.values(), *self.controls.outputs]
        knows = ("prompt", "num_frames", "fps", *KNOWN)
        page.reuses.append(Reuse("Video", TASKS, filled, self._filled, knows, self._studio.hints, vary))
        gr.on([self._studio.start.click, self.prompt.submit, vary.change], self._draw, self.given, outputs, **QUIET)

    def _lay_out_request(self) -> None:
        self.prompt = gr.Textbox(label="Prompt", lines=3, max_lines=8, placeholder="What happens?")
        with gr.Row():
            self.image = gr.Image(type="filepath", label="First image", height=200, sources=["upload"])
            self.last_image = gr.Image(type="filepath", label="Last image", height=200, sources=["upload"])
        self.figure = FigureControls()
        self._studio.lay_out_buttons()
        with gr.Column(elem_classes="choices"):
            self.model = gr.Dropdown([], label="Model", filterable=False)
            with gr.Row():
                self.frames = gr.Slider(1, 81, 9, step=1, label="Frames")
                self.fps = gr.Slider(1, 60, 16, step=1, label="Frames a second")
            with gr.Accordion("Settings", open=False):
                self.controls = Controls(self._page, self.model, list(TASKS), upscaled=False)

    @property
    def given(self) -> set[Any]:
        files = {self.image, self.last_image, *self.figure.files.values()}
        return {self.prompt, *files, self.model, self.frames, self.fps, *self.controls.inputs, self._page.models}

    def read(self, given: dict[Any, Any]) -> tuple[str, dict[str, Any]]:
        """Return the API's name and its parameters. Raises NothingToDraw."""
        model = chosen(given[self._page.models], given[self.model])
        image, tasks = given[self.image], model.tasks if model else {}
        last_image = given[self.last_image] if model and _takes_last(model) else None
        task = FROM_IMAGE if image else FROM_TEXT
        if task not in tasks:
            raise NothingToDraw(
                "This model takes no image." if image else "This model begins with an image: choose one."
            )
        if last_image and not image:
            raise NothingToDraw("A last image needs a first one.")
        parameters = {
            "prompt": given[self.prompt],
            "model": given[self.model],
            **self.controls.read(given),
            "num_frames": int(given[self.frames]) or None,
            "fps": int(given[self.fps]) or None,
        }
        files = {"image": image, "last_image": last_image, **self.figure.read(given, model)}
        return APIS[task], {**parameters, **{name: file for name, file in files.items() if file}}

    async def _draw(self, given: dict[Any, Any], request: gr.Request) -> AsyncGenerator[dict[Any, Any], None]:
        used: dict[str, Any] = {}
        api = ""

        def asked() -> tuple[str, dict[str, Any]]:
            nonlocal api
            api, parameters = self.read(given)
            used.update(parameters, seed=self.controls.next_seed(given))
            return api, used

        def show(files: tuple[Path, ...]) -> dict[Any, Any]:
            code = self._code.texts(request, api, used)
            return {
                self.clip: gr.Video(str(files[0]), visible=True),
                **dict(zip(self._code.outputs, code, strict=True)),
            }

        async for update in self._studio.drawn(request, asked, show, self.controls.seed):
            yield update

    def _filled(self, models: Sequence[dict[str, Any]], parameters: dict[str, Any], locked: bool) -> dict[Any, Any]:
        """Return the tab as a request had it, with the first model if its own is not served here."""
        model = earlier_or_first(able(models, parameters["task"]), parameters.get("model"))
        if model is None:
            return {}
        # Without its pose video, the clip will be as long as the one that is chosen next.
        is_whole = model.animation is None or parameters.get("pose_video")
        length = parameters if is_whole else {}
        frames, fps = _length(model, parameters["task"], length.get("num_frames"), length.get("fps"))
        return {
            self.prompt: parameters["prompt"],
            self.model: model.id,
            self.image: gr.Image(parameters.get("image"), visible=FROM_IMAGE in model.tasks),
            self.last_image: gr.Image(parameters.get("last_image"), visible=_takes_last(model)),
            **self.figure.filled(model, parameters),
            self.frames: frames,
            self.fps: fps,
            **self.controls.filled(model, parameters, locked=locked),
        }

    def _models_known(self, models: list[dict[str, Any]]) -> list[Any]:
        found = able(models, *TASKS)
        first = found[0] if found else None
        model = gr.Dropdown(choices=choices(found), value=first and first.id)
        return [model, gr.Markdown(visible=first is None), gr.Row(visible=first is not None), *self._followed(first)]

    def _model_chosen(self, models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
        return self._followed(chosen(models, model_id))

    def _followed(self, model: Model | None) -> list[Any]:
        """Return the controls for a model."""
        task = next((each for each in TASKS if model is not None and each in model.tasks), None)
        if model is None or task is None:
            return [gr.skip()] * 5
        return [
            gr.Image(visible=FROM_IMAGE in model.tasks),
            gr.Image(visible=_takes_last(model)),
            self.figure.followed(model),
            *_length(model, task),
        ]


def _length(model: Model, task: str, num_frames: int | None = None, fps: int | None = None) -> tuple[Any, Any]:
    """Return the sliders for length and frame rate; values that are not given come from the model or the poses."""
    defaults, limits = (model.tasks[task][name] for name in ("defaults", "limits"))
    if model.animation is None:
        least, usual, info = 1, defaults, ""
    else:
        least, usual, info = AS_THE_POSES, {"num_frames": AS_THE_POSES, "fps": AS_THE_POSES}, "0: as the poses"
    frames = gr.Slider(minimum=least, maximum=limits["max_frames"], value=num_frames or usual["num_frames"], info=info)
    return frames, gr.Slider(minimum=least, value=fps or usual["fps"], info=info)


def _takes_last(model: Model) -> bool:
    takes: bool = model.fields["last_image"]
    return takes
