"""A first image, generated before any request waits: kernels are chosen, graphs compiled, memory reserved."""

from __future__ import annotations

from PIL import Image

from core.draft import Draft
from core.errors import LoadFailed
from core.events import Failed
from core.request import GenerationRequest, Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits

STEPS = 2
CHEAP_GIB = 1.0
"""A CPU gains little from a warm-up: it generates a small image, and none with a model larger than this."""


def is_worthwhile(entry: Entry, device: str) -> bool:
    return device != "cpu" or entry.memory_gib <= CHEAP_GIB


def warmup_request(entry: Entry, device: str) -> GenerationRequest:
    """Return a request of the model's first task: of its default size on an accelerator, its smallest on a CPU."""
    task, settings = next(iter(entry.tasks.items()))
    smallest = settings.limits.multiple_px * -(-settings.limits.min_px // settings.limits.multiple_px)
    image = Image.new("RGB", (settings.defaults.width, settings.defaults.height))
    draft = Draft(
        prompt="a",
        task=task,
        width=smallest if device == "cpu" else settings.defaults.width,
        height=smallest if device == "cpu" else settings.defaults.height,
        num_inference_steps=max(settings.limits.min_steps, min(STEPS, settings.defaults.num_inference_steps)),
        num_frames=1 if task.is_video else None,
        image=image if task.takes_image else None,
        mask=image.convert("L") if task is Task.INPAINT else None,
        images=(image,) if task is Task.EDIT else (),
        strength=1.0 if task.takes_strength else None,
        seed=0,
    )
    limits = ServerLimits(max_prompt_chars=100, max_num_images=1, max_deadline_s=float("inf"))
    return resolve(draft, Catalogue([entry]), limits)


async def warm_up(model: LoadedModel, request: GenerationRequest, limits: EngineLimits) -> None:
    """Generate a request with an engine of its own, which no metrics count.

    Raises LoadFailed, since a model that fails at this would fail at every request.
    """
    engine = Engine(model, limits)
    try:
        async for event in engine.submit(request).events():
            if isinstance(event, Failed):
                raise LoadFailed(f"{model.id} is loaded, but its first image failed: {event.message}")
    finally:
        engine.close()
