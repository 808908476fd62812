"""What else guides an image, if the chosen model takes it: LoRAs, a control image, a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from client.results import Model
from ui.page import QUIET, PageLayout, chosen

KNOWN = ("loras", "control_type", "control_scale", "reference_scale")
MOST_LORAS = 3
"""The API takes more; these fit on the page."""


class Conditions:
    def __init__(self, page: PageLayout, model: gr.Dropdown, task: str) -> None:
        """Lay the controls out here, folded; each is only shown for models that support it."""
        self._task = task
        with gr.Accordion("LoRAs", open=False, visible=False) as self.lora_part:
            self.loras = [self._lora(number + 1) for number in range(MOST_LORAS)]
        with gr.Accordion("Control image", open=False, visible=False) as self.control_part:
            self.control_image = gr.Image(type="filepath", label="Control image", height=200, sources=["upload"])
            with gr.Row():
                self.control_type = gr.Dropdown([], label="What it shows")
                self.control_scale = gr.Slider(0, 2, 1, step=0.05, label="How strictly")
        with gr.Accordion("Reference image", open=False, visible=False) as self.reference_part:
            self.reference_image = gr.Image(type="filepath", label="Reference image", height=200, sources=["upload"])
            self.reference_scale = gr.Slider(0, 2, 0.6, step=0.05, label="How strongly")
        names = [name for name, _ in self.loras]
        self._limited = [self.lora_part, *names, self.control_part, self.control_type, self.reference_part]
        page.when_opened(self._first, self._limited)
        model.input(self._changed, [page.models, model], self._limited, **QUIET)
        page.models.change(_still_offered, [page.models, model], [self.lora_part, *names], **QUIET)

    def _lora(self, number: int) -> tuple[gr.Dropdown, gr.Slider]:
        with gr.Row():
            name = gr.Dropdown([("none", "")], value="", label=f"LoRA {number}", scale=2)
            return name, gr.Slider(-2, 2, 1, step=0.05, label=f"Scale {number}", scale=3)

    @property
    def inputs(self) -> set[Any]:
        loras = {each for pair in self.loras for each in pair}
        control = {self.control_image, self.control_type, self.control_scale}
        return {*loras, *control, self.reference_image, self.reference_scale}

    def read(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the API's parameters; those not used are None."""
        loras = [{"name": given[name], "scale": given[scale]} for name, scale in self.loras if given[name]]
        control, reference = given[self.control_image], given[self.reference_image]
        return {
            "loras": loras or None,
            "control_image": control,
            "control_type": given[self.control_type] if control else None,
            "control_scale": given[self.control_scale] if control else None,
            "reference_image": reference,
            "reference_scale": given[self.reference_scale] if reference else None,
        }

    @property
    def outputs(self) -> list[Any]:
        """The components that `filled` fills."""
        guides = [self.control_image, self.control_scale, self.reference_image, self.reference_scale]
        return [*self._limited, *(scale for _, scale in self.loras), *guides]

    def filled(self, model: Model, parameters: Mapping[str, Any]) -> dict[Any, Any]:
        """Return the controls as a request had them."""
        updates = dict(zip(self._limited, self._offered(model), strict=True))
        for (name, scale), lora in zip(self.loras, parameters.get("loras") or (), strict=False):
            updates[name] = gr.Dropdown(choices=_lora_names(model.fields["loras"]), value=lora["name"])
            updates[scale] = lora["scale"]
        if parameters.get("control_image"):
            updates[self.control_type] = gr.Dropdown(
                choices=model.fields["controlnets"], value=parameters["control_type"]
            )
        return {
            **updates,
            self.control_image: parameters.get("control_image"),
            self.control_scale: parameters.get("control_scale", 1),
            self.reference_image: parameters.get("reference_image"),
            self.reference_scale: parameters.get("reference_scale", 0.6),
        }

    def _first(self, models: list[dict[str, Any]]) -> list[Any]:
        able = [each for each in models if self._task in each["tasks"]]
        return self._offered(Model.of(able[0]) if able else None)

    def _changed(self, models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
        return self._offered(chosen(models, model_id))

    def _offered(self, model: Model | None) -> list[Any]:
        fields: dict[str, Any] = model.fields if model else {"loras": {}, "controlnets": [], "ip_adapter": False}
        names = _lora_names(fields["loras"])
        controlled = self._task in fields.get("controlled_tasks", ())
        nets = fields["controlnets"] if controlled else []
        return [
            gr.Accordion(visible=bool(fields["loras"])),
            *(gr.Dropdown(choices=names, value="") for _ in self.loras),
            gr.Accordion(visible=bool(nets)),
            gr.Dropdown(choices=nets, value=nets[0] if nets else None),
            gr.Accordion(visible=bool(fields["ip_adapter"])),
        ]


def _still_offered(models: list[dict[str, Any]], model_id: str | None) -> list[Any]:
    """Return the current LoRAs, since some may be added at any time; the choice stays."""
    model = chosen(models, model_id)
    loras = model.fields["loras"] if model else {}
    return [gr.Accordion(visible=bool(loras)), *[gr.Dropdown(choices=_lora_names(loras))] * MOST_LORAS]


def _lora_names(loras: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Return a model's LoRAs as choices of a menu."""
    return [("none", ""), *((f"{name}: {what}" if what else name, name) for name, what in loras.items())]
