"""The plain pipelines that every peer serves, and how a batch of requests becomes calls of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from benchmarks.measured_model import measured_entry
from benchmarks.weights import load_plain
from core.generation.request import Task
from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel

MAX_BATCH_SIZE = 16
"""As many as there are callers, so that all of them can share a call."""

PngImage = Annotated[Image.Image, WithJsonSchema({"type": "string", "format": "binary"})]
"""With a schema, which BentoML needs."""


class PlainRequest(BaseModel):
    """One request; `image` is RGB and `mask` L."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    task: Task = Task.TEXT_TO_IMAGE
    prompt: str
    num_inference_steps: int
    seed: int
    image: PngImage | None = None
    mask: PngImage | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any], files: Mapping[str, Any]) -> PlainRequest:
        """Read a form's fields and its open files."""
        modes = {"image": "RGB", "mask": "L"}
        return cls(**fields, **{name: Image.open(file).convert(modes[name]) for name, file in files.items()})

    @property
    def group(self) -> tuple[Any, ...]:
        """What all members of one pipeline call must have in common."""
        return self.task, self.num_inference_steps, self.image and self.image.size


class Pipelines:
    def __init__(self, entry: Entry, model: LoadedModel) -> None:
        self._defaults = entry.defaults
        self._pipelines: Mapping[Task, Any] = model.pipelines

    @classmethod
    def load(cls) -> Pipelines:
        entry = measured_entry()
        return cls(entry, load_plain(entry))

    def draw(self, wanted: Sequence[PlainRequest]) -> list[Image.Image]:
        """Generate with one pipeline call for each group of requests that can share it; images in their order."""
        images: dict[int, Image.Image] = {}
        for group in dict.fromkeys(each.group for each in wanted):
            places = [place for place, each in enumerate(wanted) if each.group == group]
            images |= zip(places, self._draw_group([wanted[place] for place in places]), strict=True)
        return [images[place] for place in range(len(wanted))]

    def _draw_group(self, wanted: Sequence[PlainRequest]) -> list[Image.Image]:
        first = wanted[0]
        arguments: dict[str, Any] = {
            "prompt": [each.prompt for each in wanted],
            "num_inference_steps": first.num_inference_steps,
            "guidance_scale": self._defaults.guidance_scale,
            "generator": [torch.Generator("cpu").manual_seed(each.seed) for each in wanted],
        }
        if first.task is not Task.IMAGE_TO_IMAGE:
            width, height = first.image.size if first.image else (self._defaults.width, self._defaults.height)
            arguments |= {"width": width, "height": height}
        if first.task is not Task.TEXT_TO_IMAGE:
            arguments |= {"image": [each.image for each in wanted], "strength": self._defaults.strength}
        if first.task is Task.INPAINT:
            arguments["mask_image"] = [each.mask for each in wanted]
        images: list[Image.Image] = self._pipelines[first.task](**arguments).images
        return images


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
