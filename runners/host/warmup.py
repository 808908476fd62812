"""A first image, generated before any request waits: kernels are chosen, graphs compiled, memory reserved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from PIL import Image

from core.generation.draft import Draft
from core.generation.events import Failed
from core.generation.request import GenerationRequest
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.trial_requests import first_image_failed, task_inputs

STEPS = 2
EXPERTS_STEPS = 4
"""Steps for models with two denoisers, enough for the second one to take over."""
CHEAP_GIB = 1.0
"""A CPU gains little from a warm-up: it generates a small image, and none with a model larger than this."""
WORD = "a "
LIMITS = ServerLimits(max_prompt_chars=10_000, max_num_images=1_000, max_deadline_s=float("inf"))


def is_worthwhile(entry: Entry, device: str) -> bool:
    return device != "cpu" or entry.memory_gib <= CHEAP_GIB or bool(entry.memory.compile)


def warmup_requests(entry: Entry, model: LoadedModel) -> list[GenerationRequest]:
    """Return requests of the model's first task: one of the default size on an accelerator, of the smallest on a CPU,
    or all that a denoiser is to be compiled for.
    """
    if model.compiled is not None:
        return list(_compiled_for(entry, model))
    _, settings = next(iter(entry.tasks.items()))
    smallest = settings.limits.smallest_px
    size = {"width": smallest, "height": smallest} if model.device.type == "cpu" else {}
    return [_request(entry, **size, num_frames=entry.family_spec.least_frames(settings.defaults.fps))]


def _compiled_for(entry: Entry, model: LoadedModel) -> Iterator[GenerationRequest]:
    sizes = [size.model_dump(exclude_none=True) for size in entry.memory.warm] or [{}]
    for size, prompt, images in product(sizes, _prompts(model), model.batch_buckets):
        yield _request(entry, **size, prompt=prompt, num_images=images)


def _prompts(model: LoadedModel) -> list[str]:
    """Return a prompt for each text bucket, or any prompt if lengths do not vary."""
    family = model.family
    if not family.text_varies or family.text_tokens is None:
        return ["a"]
    tokenizer = next(iter(model.pipelines.values())).tokenizer
    tokens_per_word = len(tokenizer(WORD * 100).input_ids) / 100
    shorter = (0, *model.text_buckets)
    # Half-way to a bucket, as templates add some tokens.
    return [
        WORD * round((bucket + below) / 2 / tokens_per_word)
        for below, bucket in zip(shorter, model.text_buckets, strict=False)
        if below < family.text_tokens.usual
    ]


def _request(entry: Entry, **given: Any) -> GenerationRequest:
    """Make a request of the entry's first task and default size, except for the `given` fields."""
    task, settings = next(iter(entry.tasks.items()))
    steps = EXPERTS_STEPS if entry.low_noise_expert else STEPS
    fields: dict[str, Any] = {
        "prompt": "a",
        "width": settings.defaults.width,
        "height": settings.defaults.height,
        "num_frames": settings.defaults.num_frames,
        **given,
    }
    if not task.is_video:
        del fields["num_frames"]
    image = Image.new("RGB", (fields["width"], fields["height"]))
    draft = Draft(
        num_inference_steps=max(settings.limits.min_steps, min(steps, settings.defaults.num_inference_steps)),
        seed=0,
        **task_inputs(entry, task, image, image.convert("L"), fields.get("num_frames", 1)),
        **fields,
    )
    return resolve(draft, Catalogue([entry]), LIMITS)


async def warm_up(model: LoadedModel, requests: Sequence[GenerationRequest], limits: EngineLimits) -> None:
    """Generate requests, one after the other, with a separate engine that is not in the metrics. Afterwards, denoisers
    run uncompiled in all shapes that they have not been compiled for.

    Raises LoadFailed, since a model that fails here would fail at every request.
    """
    engine = Engine(model, limits)
    try:
        for request in requests:
            await _generate(engine, request, model.id)
    finally:
        engine.close()
    if model.compiled is not None:
        model.compiled.complete = True


async def _generate(engine: Engine, request: GenerationRequest, model: str) -> None:
    async for event in engine.submit(request).events():
        if isinstance(event, Failed):
            raise first_image_failed(model, event.message)
