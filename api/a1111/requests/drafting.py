"""From a form to an admitted request: which model and task it means, and A1111's names for our fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from api.a1111.requests.control import SCRIPTS, control_fields
from api.a1111.requests.forms import MOST_IMAGES, DrawForm, ImageForm, TextForm
from api.a1111.requests.hires import hires_hints, hires_names, hires_of
from api.a1111.requests.inpainting import FITS, ITSELF, Repainting, filled, repainting_of
from api.a1111.requests.samplers import sampler_of
from api.a1111.session.model_choices import CHOICES, checkpoint_named
from api.http.refusals import InvalidForm
from api.http.requests.source_images import source_fields
from core.errors import InvalidRequest, fields_named
from core.generation.draft import Draft
from core.generation.hints import header_text, ignored_hint, renamed
from core.generation.prompt_syntax import PromptSyntax
from core.generation.request import GenerationRequest, Task
from core.pixels.upload import UploadedImage
from gateway.gateway import Gateway
from gateway.media.reading.uploads import in_image_thread
from models.catalogue.entry import Entry
from models.catalogue.resolving.sizes import size_of
from models.catalogue.serving.choosing import first_task

PREVIEWS = 10
"""The most previews of one image."""
OVERRIDES = "override_settings"
VAES = ("", "automatic", "none")
"""Values that keep the model's own VAE."""
NAMES = {
    "num_inference_steps": "steps",
    "guidance_scale": "cfg_scale",
    "num_images": "n_iter",
    "scheduler": "sampler_name",
    "strength": "denoising_strength",
    "image": "init_images",
    "images": "init_images",
    "task": OVERRIDES,
    "fit": "resize_mode",
    "control_image": SCRIPTS,
    "control_type": SCRIPTS,
    "control_scale": SCRIPTS,
    "reference_image": SCRIPTS,
    "reference_scale": SCRIPTS,
    "loras": "prompt",
}
"""A1111's names for a draft's fields, where they differ."""


@dataclass(frozen=True)
class AdmittedDrawing:
    """An admitted request, and the form that says how to answer it."""

    form: DrawForm
    request: GenerationRequest
    repainting: Repainting | None

    @property
    def parts(self) -> int:
        """How many parts are drawn one after the other; layers are drawn together."""
        return 1 if self.request.layered else self.form.n_iter

    @property
    def images_of_part(self) -> int:
        return self.request.num_images // self.parts


async def admit(gateway: Gateway, form: DrawForm, hints: tuple[str, ...]) -> AdmittedDrawing:
    """Check a form and charge its caller; `hints` are the hints collected so far.

    Raises InvalidRequest, with A1111's names of fields, UnknownModel or RateExceeded.
    """
    entry = _entry(gateway, form)
    draft, repainting, own = await in_image_thread(_draft, gateway, form, entry)
    answered_px, names = 0 if repainting is None else repainting.answered_px, names_in(form)
    with fields_named(names):
        request = await gateway.admit(
            draft, uploaded_px=_uploaded_px(form, draft), encoded_px=answered_px, max_images=MOST_IMAGES
        )
    known = tuple(renamed(hint, names) for hint in request.hints)
    changes: dict[str, Any] = {"hints": (*hints, *own, *known)}
    if entry.preview is not None:
        changes["preview_every"] = max(1, -(-request.denoising_steps // PREVIEWS))
    return AdmittedDrawing(form, request.model_copy(update=changes), repainting)


def names_in(form: DrawForm) -> dict[str, str]:
    """Return a form's names for a draft's fields, where they differ."""
    skipped = {"clip_skip": OVERRIDES} if form.override_settings.CLIP_stop_at_last_layers else {}
    return {**NAMES, **skipped, **(hires_names(form) if isinstance(form, TextForm) else {})}


def _checked(form: DrawForm, fields: Mapping[str, Any]) -> Draft:
    try:
        return Draft.of(form, **fields)
    except ValidationError as error:
        raise InvalidForm(error) from error


def _entry(gateway: Gateway, form: DrawForm) -> Entry:
    wanted = form.override_settings.sd_model_checkpoint
    return checkpoint_named(gateway.catalogue, wanted) if wanted else CHOICES.entry(gateway.catalogue)


def _draft(gateway: Gateway, form: DrawForm, entry: Entry) -> tuple[Draft, Repainting | None, tuple[str, ...]]:
    """Return the draft, how its mask is repainted, and hints. Blocks."""
    task = _task(form, entry)
    if task not in entry.tasks:
        able = ", ".join(entry.tasks)
        raise InvalidRequest(OVERRIDES, f"sd_model_checkpoint: {entry.id} cannot do {task}; it can do {able}")
    sampler, sampler_hints = _sampler(form, entry, task)
    fields: dict[str, Any] = {
        "task": task,
        "model": entry.id,
        "num_inference_steps": form.steps,
        "guidance_scale": form.cfg_scale,
        "num_images": form.num_images,
        "scheduler": sampler,
        "prompt_syntax": PromptSyntax.A1111,
        "clip_skip": _clip_skip(form),
        **_fewer_steps(form),
        "eta": _eta(form, entry, task, sampler),
        "progress": True,
    }
    hires_notes: tuple[str, ...] = ()
    if isinstance(form, TextForm):
        fields["hires"] = hires_of(form, entry, gateway.upscaler)
        hires_notes = tuple(hires_hints(form, entry, gateway.upscaler))
    images, repainting = _images(gateway, form, entry, task) if isinstance(form, ImageForm) else ({}, None)
    control, control_hints = control_fields(form.alwayson_scripts, entry, images.get("image"))
    with fields_named(names_in(form)):
        draft = _checked(form, {**fields, **images, **control})
    return draft, repainting, (*sampler_hints, *hires_notes, *control_hints, *_override_hints(form))


def _task(form: DrawForm, entry: Entry) -> Task:
    """Return the task that a form means; with an image, a model that only edits by instruction edits it."""
    if not isinstance(form, ImageForm):
        return Task.TEXT_TO_IMAGE
    return first_task(entry, Task.IMAGE_TO_IMAGE if form.mask is None else Task.INPAINT, Task.EDIT)


def _sampler(form: DrawForm, entry: Entry, task: Task) -> tuple[str | None, tuple[str, ...]]:
    usual = entry.tasks[task].defaults.scheduler
    return sampler_of(entry.family_spec.schedulers, form.sampler_name or form.sampler_index, form.scheduler, usual)


def _clip_skip(form: DrawForm) -> int:
    """Return how many layers to leave out; the web UI counts from 1."""
    return (form.override_settings.CLIP_stop_at_last_layers or form.clip_skip or 1) - 1


def _fewer_steps(form: DrawForm) -> dict[str, Any]:
    """Return our own fields; clients limited to the web UI's fields send them in `override_settings`."""
    overrides = form.override_settings
    guidance_end = form.guidance_end if overrides.guidance_end is None else overrides.guidance_end
    return {"step_cache": overrides.step_cache or form.step_cache, "guidance_end": guidance_end}


def _eta(form: DrawForm, entry: Entry, task: Task, sampler: str | None) -> float:
    """Return the noise to add. Clients send 1 for ancestral samplers, which add that anyway."""
    schedulers = entry.family_spec.schedulers
    name = sampler or schedulers.find(entry.tasks[task].defaults.scheduler)
    takes_eta = name is not None and schedulers[name].takes_eta
    return 0 if form.eta is None or (form.eta == 1 and not takes_eta) else form.eta


def _images(gateway: Gateway, form: ImageForm, entry: Entry, task: Task) -> tuple[dict[str, Any], Repainting | None]:
    """Return the draft's fields for images, and how a mask is repainted. Blocks."""
    fit = FITS[form.resize_mode]
    if form.mask is None:
        held = source_fields(form.init_images, task, "init_images")
        return held if task is Task.EDIT else {**held, "fit": fit, "strength": form.denoising_strength}, None
    if len(form.init_images) > 1:
        raise InvalidRequest("init_images", f"{len(form.init_images)} were given; a mask belongs to one image")
    image = form.init_images[0]
    assert isinstance(image, UploadedImage) and isinstance(form.mask, UploadedImage)  # noqa: PT018  # as files they came
    repainting = repainting_of(form, image, form.mask, fit)
    part, mask = repainting.part
    if form.inpainting_fill != ITSELF and task is Task.INPAINT:
        draft = Draft(task=task, prompt="", width=form.width, height=form.height, image=part)
        size = size_of(draft, entry, snaps=gateway.limits.snaps_sizes)
        part, mask = filled(part, mask, size, fit, form.inpainting_fill), mask.resized(*size, fit)
    held = source_fields((part,), task, "init_images")
    return {**held, "mask": mask, "fit": fit, "strength": form.denoising_strength}, repainting


def _uploaded_px(form: DrawForm, draft: Draft) -> int:
    """Return the pixels of all uploads; the draft may have only the part around a mask."""
    own = (*form.init_images, form.mask) if isinstance(form, ImageForm) else ()
    # A unit without a file uses the image itself.
    control = None if draft.control_image is draft.image else draft.control_image
    files = (image for image in (*own, control, draft.reference_image) if image is not None)
    return sum(image.width * image.height for image in files)


def _override_hints(form: DrawForm) -> tuple[str, ...]:
    overrides = form.override_settings
    if (overrides.sd_vae or "").lower() not in VAES:
        raise InvalidRequest(OVERRIDES, f"sd_vae: {str(overrides.sd_vae)[:60]!r} is not here: models come with theirs")
    others: Mapping[str, Any] = overrides.model_extra or {}
    return tuple(
        ignored_hint(f"{OVERRIDES}.{header_text(name[:40])}", "it is not a setting here") for name in sorted(others)
    )
