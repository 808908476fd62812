"""Helpers of the engine tests: requests of a tiny model, and the plain pipeline to compare with."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from core.errors import Cancelled
from core.generation.events import Clip, Event, Failed, Picture, Result, Sound
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Size
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from runners.engine.pipeline_run import pipeline_arguments, waveform_of
from runners.engine.second_pass import resized_frames, second_request
from runners.engine.text.encoding import with_encodings
from runners.engine.views.samplers import let_draw, make_scheduler
from tests.support.engine.plain import plain_pipeline, with_plain_redux

SIZE_PX = 64

Resize = Callable[[torch.Tensor, Size], torch.Tensor]


def photo(seed: int = 0, size_px: int = SIZE_PX) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def centre_mask(size_px: int = SIZE_PX) -> Image.Image:
    mask = Image.new("L", (size_px, size_px), 0)
    mask.paste(255, (size_px // 4, size_px // 4, 3 * size_px // 4, 3 * size_px // 4))
    return mask


def request(task: Task = Task.TEXT_TO_IMAGE, **changes: Any) -> GenerationRequest:
    values: dict[str, Any] = {
        "model": "tiny",
        "task": task,
        "prompt": "a red apple",
        "width": SIZE_PX,
        "height": SIZE_PX,
        "num_inference_steps": 4,
        "guidance_scale": 5.0,
        "seed": 7,
        "scheduler": "ddim",
    }
    if task.takes_image:
        values["image"] = photo()
    if task.takes_strength:
        values["strength"] = 0.7
    if task is Task.INPAINT:
        values["mask"] = centre_mask()
    return GenerationRequest(**(values | changes))


def draw_plain(
    model: LoadedModel, wanted: GenerationRequest, index: int = 0, resize: Resize = resized_frames
) -> Image.Image:
    """Draw a picture with the unmodified pipeline alone; `resize` is what stands between two passes."""
    return plain_frames(model, wanted, index, resize)[0]


def plain_frames(
    model: LoadedModel, wanted: GenerationRequest, index: int = 0, resize: Resize = resized_frames
) -> list[Image.Image]:
    """Draw with the unmodified pipelines alone, one after the other; a picture is its own only frame."""
    if wanted.hires is None:
        return plain_clip(model, wanted, index)[0]
    first = _output(model, wanted.model_copy(update={"hires": None}), index, output_type="pt").images
    second = second_request(model.family, wanted)
    return list(_output(model, second, index, image=resize(first, wanted.result_size)).images[:1])


def plain_clip(model: LoadedModel, wanted: GenerationRequest, index: int = 0) -> tuple[list[Image.Image], Sound | None]:
    """Draw with the unmodified pipeline alone; return the frames, and what is heard with them."""
    output = _output(model, wanted, index)
    # What makes sound of it is the same under all conditions.
    waveform = waveform_of(model.family, model.pipelines[wanted.task], output)
    images = output.frames[0] if wanted.task.is_video else output.images[0] if wanted.layered else output.images[:1]
    frames = list(images)
    return frames, None if waveform is None else waveform.sound()


def _output(model: LoadedModel, wanted: GenerationRequest, index: int, **others: Any) -> Any:
    pipeline = copy.copy(plain_pipeline(model, wanted))
    # Past `DiffusionPipeline.__setattr__`, which would write them into the shared configuration.
    pipeline.__dict__["scheduler"] = make_scheduler(model.family.sampler(wanted), pipeline.scheduler.config)
    pipeline.__dict__.update({name: make(getattr(pipeline, name), wanted) for name, make in model.family.own.items()})
    arguments = with_plain_redux(pipeline, model, wanted, pipeline_arguments(model.family, wanted, index) | others)
    let_draw(pipeline.scheduler, model.family.sampler(wanted), arguments["generator"])
    return pipeline(**with_encodings(pipeline, model.family, wanted, arguments))


async def draw(engine: Engine, wanted: GenerationRequest) -> list[Event]:
    return [event async for event in engine.submit(wanted).events()]


async def draw_together(engine: Engine, wanted: Sequence[GenerationRequest]) -> list[list[Event]]:
    return await asyncio.gather(*(draw(engine, each) for each in wanted))


def pictures(events: Sequence[Event]) -> list[Picture]:
    return sorted((e for e in events if isinstance(e, Picture)), key=lambda picture: picture.index)


def results(events: Sequence[Event]) -> list[Result]:
    return sorted((e for e in events if isinstance(e, Result)), key=lambda result: result.index)


def frames_of(result: Result) -> list[Image.Image]:
    """Return a clip's frames; a picture is its own only frame."""
    return list(result.frames) if isinstance(result, Clip) else [result.image]


def pixels(image: Image.Image) -> NDArray[np.int16]:
    return np.asarray(image, dtype=np.int16)


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    """In steps of 1/255."""
    return int(np.abs(pixels(one) - pixels(other)).max())


def largest_sound_difference(one: Sound, other: Sound) -> int:
    """In steps of 1/32767."""
    assert (one.channels, one.rate_hz, len(one.samples)) == (other.channels, other.rate_hz, len(other.samples))
    return int(np.abs(heard(one) - heard(other)).max())


def heard(sound: Sound) -> NDArray[np.int32]:
    """Return its samples, (N, channels)."""
    return np.frombuffer(sound.samples, "<i2").reshape(-1, sound.channels).astype(np.int32)


def is_cancelled(event: object) -> bool:
    return isinstance(event, Failed) and event.code == Cancelled.code
