"""Turns a draft into a complete request: defaults are filled in, and every limit is checked.

No pipeline refuses the parameters of a request that passes here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidRequest
from core.generation.client_fields import MAX_SEED, random_seed
from core.generation.draft import Draft
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest, Method, Task
from core.generation.step_cache import StepCache
from core.generation.tuning import PROMPTS
from core.pixels.fitting import Size
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.families.images.qwen_image import OWN_PROPORTION
from models.catalogue.limits import Limits, TaskSettings
from models.catalogue.resolving.animation_videos import check_videos, frames_of, video_hints, videos_of
from models.catalogue.resolving.checks import at_most, within
from models.catalogue.resolving.conditioning import control_of, last_image_of, loras_of, prompt_of, reference_of
from models.catalogue.resolving.deadlines import allowed_s
from models.catalogue.resolving.idle import without_idle
from models.catalogue.resolving.second_pass import second_pass_of
from models.catalogue.resolving.sizes import (
    check_proportions,
    fit_for,
    looked_at,
    resized,
    size_hints,
    size_of,
    too_long,
)
from models.catalogue.resolving.syntax import with_syntax
from models.catalogue.resolving.tuning import tuning_of, with_own_steps
from models.catalogue.resolving.upscaling import upscale_of

EDITED_PIXELS = 2**20
"""Editing models see their inputs at about a megapixel, whatever the output size."""
ONE_LAYER = "num_images: 1 is one layer, with all of the image; ask for as many as it is to be taken apart into"
LOOPS = "last_image: none was sent, so the video ends with the image that it starts with"


@dataclass(frozen=True)
class ServerLimits:
    """The operator's limits and defaults, as opposed to a model's."""

    max_prompt_chars: int
    max_num_images: int
    max_deadline_s: float
    """The longest deadline, to which the time for the model's work is added."""
    tflops: float = math.inf
    """10^12 operations a second that devices are expected to reach."""
    background_deadline_s: float | None = None
    """The default for requests that no caller waits for."""
    prompt_syntax: PromptSyntax = PromptSyntax.PLAIN
    """The default for requests."""
    snaps_sizes: bool = False
    """Whether a size that a model does not generate becomes the nearest one that it does."""
    reproducible: bool = False
    """The default for requests."""
    step_cache: StepCache = StepCache.OFF
    """The default for requests."""
    upscales: bool = False
    """Whether the server has an upscaling model."""


def resolve(draft: Draft, catalogue: Catalogue, server: ServerLimits, *, background: bool = False) -> GenerationRequest:
    """Complete and check a draft. Raises UnknownModel, or InvalidRequest for the first wrong field.

    In the `background` no caller waits, so a draft without a deadline becomes a request without one.
    """
    entry = catalogue.default if draft.model is None else catalogue.get(draft.model)
    settings = _task_settings(draft, entry)
    limits = settings.limits
    _check_inputs(draft, entry, limits)
    _check_prompts(draft, server)
    draft, syntax_hints = with_syntax(draft, entry, server.prompt_syntax)
    draft, ignored = without_idle(with_own_steps(draft), entry)
    scheduler = _scheduler(draft, entry, settings)
    reproducible = server.reproducible if draft.reproducible is None else draft.reproducible
    size = width, height = size_of(draft, entry, snaps=server.snaps_sizes)
    hires = second_pass_of(draft, entry, size, _steps(draft, settings), scheduler, upscales=server.upscales)
    frames = frames_of(draft, entry, settings)
    request = GenerationRequest(
        model=entry.id,
        task=draft.task,
        prompt=prompt_of(draft, entry),
        negative_prompt=draft.negative_prompt.strip(),
        width=width,
        height=height,
        num_inference_steps=_steps(draft, settings),
        guidance_scale=_guidance_scale(draft, settings),
        seed=_seed(draft),
        num_images=at_most("num_images", draft.num_images, server.max_num_images),
        layered=entry.family_spec.layered,
        scheduler=scheduler,
        **tuning_of(draft, entry, settings, scheduler),
        prompt_syntax=draft.prompt_syntax,
        step_cache=_step_cache(draft, entry, server, reproducible),
        strength=_strength(draft, settings),
        **_images(draft, size, limits),
        **hires,
        **upscale_of(draft, hires["hires"].size if hires else size),
        loras=loras_of(draft, entry),
        **frames,
        **last_image_of(draft, entry, frames.get("num_frames", 1), size, limits),
        **videos_of(draft, entry, size, frames.get("num_frames", 1), limits),
        **reference_of(draft, entry),
        **control_of(draft, entry, size, limits),
        **_method(draft, entry),
        reproducible=reproducible,
        priority=draft.priority,
        progress=draft.progress,
        preview_every=draft.preview_every,
        hints=(
            *(*ignored, *syntax_hints, *size_hints(draft, entry, size, limits), *_family_hints(draft, entry)),
            *video_hints(draft, frames.get("num_frames", 1), frames.get("fps", 0)),
        ),
    )
    return request.model_copy(update={"deadline_s": _deadline_s(draft, request, entry, server, background)})


def _family_hints(draft: Draft, entry: Entry) -> Iterator[str]:
    if entry.family_spec.layered and draft.num_images == 1:
        yield ONE_LAYER
    if entry.family_spec.layered and too_long(*draft.images[0].size, OWN_PROPORTION):
        yield f"images: the image is squeezed: layers are at most {OWN_PROPORTION} times as long as wide"
    if entry.family_spec.loops and draft.last_image is None:
        yield LOOPS


def _task_settings(draft: Draft, entry: Entry) -> TaskSettings:
    if draft.task not in entry.tasks:
        raise InvalidRequest("task", f"{entry.id} cannot do {draft.task}; it can do {', '.join(entry.tasks)}")
    return entry.tasks[draft.task]


def _check_inputs(draft: Draft, entry: Entry, limits: Limits) -> None:
    """Raise InvalidRequest unless a draft has every image that its task needs, and none that it ignores."""
    task = draft.task
    inputs: tuple[tuple[str, object, bool, bool], ...] = (
        ("image", draft.image, task.takes_image, task.takes_image),
        ("mask", draft.mask, task is Task.INPAINT, task in (Task.INPAINT, Task.EDIT)),
        ("images", draft.images or None, task is Task.EDIT, task is Task.EDIT),
        ("last_image", draft.last_image, False, task is Task.IMAGE_TO_VIDEO),
    )
    for field, value, needed, allowed in inputs:
        if needed and value is None:
            raise InvalidRequest(field, f"{task} needs one")
        if value is not None and not allowed:
            raise InvalidRequest(field, f"{task} takes none")
    if draft.mask is not None and entry.family_spec.layered:
        raise InvalidRequest("mask", f"{entry.id} takes none: it takes the whole image apart into layers")
    if len(draft.images) > limits.max_images:
        raise InvalidRequest("images", f"are {len(draft.images)}; at most {limits.max_images} are allowed")
    check_videos(draft, entry)
    for field, image in (*draft.named_images, *draft.named_videos.items()):
        check_proportions(field, image)
    masked = draft.masked_image
    if masked and draft.mask and masked.size != draft.mask.size:
        raise InvalidRequest(
            "mask", f"is {_by(draft.mask.size)} pixels, but the image is {_by(masked.size)}; they must be equal"
        )


def _images(draft: Draft, size: Size, limits: Limits) -> Mapping[str, Any]:
    """Return the request's fields for its input images."""
    seen_px = max(limits.max_pixels, EDITED_PIXELS)
    images = [looked_at(image, seen_px) for image in draft.images]
    image = draft.image if draft.mask is None else draft.masked_image
    if image is None:
        return {"fit": draft.fit, "images": tuple(images)}
    fit = fit_for(draft, image, size, limits)
    image, mask = resized(image, *size, fit), draft.mask and resized(draft.mask, *size, fit)
    # So that what the mask keeps is where the model sees it.
    return {"fit": fit, "image": image, "mask": mask, "images": (image, *images[1:]) if images else ()}


def _check_prompts(draft: Draft, server: ServerLimits) -> None:
    # A prompt may be empty beside an image, but without one there is nothing to generate.
    if not draft.prompt.strip() and draft.camera is None and not (draft.task.takes_image or draft.images):
        raise InvalidRequest("prompt", f"is empty; write 1 to {server.max_prompt_chars} characters")
    for field in PROMPTS:
        if (chars := len(getattr(draft, field))) > server.max_prompt_chars:
            raise InvalidRequest(field, f"has {chars} characters; at most {server.max_prompt_chars} are allowed")


def _steps(draft: Draft, settings: TaskSettings) -> int:
    steps = draft.num_inference_steps or settings.defaults.num_inference_steps
    return within("num_inference_steps", steps, settings.limits.min_steps, settings.limits.max_steps)


def _scheduler(draft: Draft, entry: Entry, settings: TaskSettings) -> str:
    schedulers = entry.family_spec.schedulers
    wanted = draft.scheduler or settings.defaults.scheduler
    name = schedulers.find(wanted)
    if name is None:
        raise InvalidRequest("scheduler", schedulers.mistake(wanted))
    steps, most = _steps(draft, settings), schedulers[name].max_steps
    if most is not None and steps > most:
        raise InvalidRequest("num_inference_steps", f"{steps} is more than {most}, all that {name} can take")
    return name


def _guidance_scale(draft: Draft, settings: TaskSettings) -> float:
    scale = settings.defaults.guidance_scale if draft.guidance_scale is None else draft.guidance_scale
    return within("guidance_scale", scale, *settings.limits.guidance_scale)


def _strength(draft: Draft, settings: TaskSettings) -> float:
    if not draft.task.takes_strength:
        return 1.0
    strength = settings.defaults.strength if draft.strength is None else draft.strength
    steps = _steps(draft, settings)
    if int(steps * strength) < 1:
        least = math.ceil(1000 / steps) / 1000
        raise InvalidRequest("strength", f"{strength} of {steps} steps is no step at all; at least {least}")
    return strength


def _method(draft: Draft, entry: Entry) -> Mapping[str, Any]:
    if draft.method is Method.DIFFUSION:
        return {}
    spec = entry.token_opt
    if spec is None or draft.task is not Task.INPAINT:
        raise InvalidRequest("method", f"{entry.id} cannot do {draft.task} by token-opt")
    for field in ("control_image", "reference_image", "loras"):
        if getattr(draft, field):
            raise InvalidRequest(field, "token-opt takes none")
    iterations = within("iterations", draft.iterations or spec.iterations, 1, spec.max_iterations)
    return {"method": draft.method, "iterations": iterations}


def _step_cache(draft: Draft, entry: Entry, server: ServerLimits, reproducible: bool) -> StepCache:
    if draft.method is not Method.DIFFUSION or not entry.family_spec.denoises_in_steps:
        return StepCache.OFF
    step_cache = draft.step_cache or server.step_cache
    # What `auto` chooses depends on the server's load.
    return StepCache.OFF if reproducible and step_cache is StepCache.AUTO else step_cache


def _deadline_s(
    draft: Draft, request: GenerationRequest, entry: Entry, server: ServerLimits, background: bool
) -> float | None:
    allowed = allowed_s(entry, request, server.max_deadline_s, server.tflops)
    if draft.deadline_s is None:
        return server.background_deadline_s if background else allowed
    return at_most("deadline_s", draft.deadline_s, allowed)


def _seed(draft: Draft) -> int:
    if draft.seed is None:
        return random_seed()
    return at_most("seed", draft.seed, MAX_SEED - draft.num_images + 1)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
