"""From a form to an admitted request: which task it means, which model does it, in how many steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from api.http.requests.source_images import source_fields
from api.openai.errors import CannotDo, WrongField
from api.openai.forms import MAX_N, EditForm, GenerationForm, ImagesForm, VariationForm
from api.openai.naming import entry_for, stand_in_hint
from api.openai.sizes import refuse_repeated_sides, sides_of, size_names
from core.errors import InvalidRequest, fields_named, named_through
from core.generation.draft import Draft
from core.generation.hints import ignored_hint, joined_hints, renamed
from core.generation.request import GenerationRequest, Task
from core.pixels.upload import UploadedImage
from gateway.gateway import Gateway
from gateway.media.reading.decoding import hole_in
from gateway.media.reading.uploads import in_image_thread
from models.catalogue.entry import Entry
from models.catalogue.limits import TaskSettings
from models.catalogue.serving.choosing import first_task

STEPS = {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 3.0}
"""Denoising steps for each quality, as a share of the model's default."""
DALL_E = frozenset({"dall-e-2", "dall-e-3"})
"""OpenAI's models that answer with URLs by default."""
HIGH_FIDELITY = 0.6
"""With high `input_fidelity`, image-to-image has this share of the default strength, to stay close to the image."""


class Guided(Protocol):
    """A form that also takes guidance by Qwen's name."""

    @property
    def guidance_scale(self) -> float | None: ...

    @property
    def true_cfg_scale(self) -> float | None: ...


@dataclass(frozen=True)
class AdmittedImages:
    """An admitted request, and the form that says how to answer it."""

    form: ImagesForm
    request: GenerationRequest
    stores_files: bool
    """Whether to store the images and answer with their URLs."""
    hint: str | None
    """Which parameters have no effect."""
    names: Mapping[str, str]
    """The body's names for the request's fields, where they differ."""
    transparent: bool = False
    """Whether files keep transparency; else it is shown on white."""


async def admit(gateway: Gateway, form: ImagesForm, progress: bool = False) -> AdmittedImages:
    """Check a form and charge its caller. Raises InvalidRequest, UnknownModel or RateExceeded."""
    with fields_named(form.names):
        return await _admit(gateway, form, progress)


async def _admit(gateway: Gateway, form: ImagesForm, progress: bool) -> AdmittedImages:
    _check_together(form)
    catalogue = gateway.catalogue
    entry = catalogue.default if form.model is None else entry_for(catalogue, form.model, _possible_tasks(form))
    is_dall_e = not DALL_E.isdisjoint({entry.id, (form.model or "").lower()})
    check_background(form, entry)
    sent_mask = _has_mask(form)
    form = await _with_hole(form, entry, is_dall_e)
    _check_kept(form, sent_mask)
    task = _task_of(form, entry)
    if task not in entry.tasks:
        raise CannotDo(entry, task, [other.id for other in catalogue.entries.values() if task in other.tasks])
    names = _names_in(form)
    with fields_named(names):
        draft = _draft(form, entry, task, progress)
        request = await gateway.admit(draft, uploaded_px=_uploaded_px(form), max_images=MAX_N)
    names = named_through(names, form.names)
    hints = tuple(renamed(hint, names) for hint in request.hints)
    default = "url" if is_dall_e and not form.stream else "b64_json"
    return AdmittedImages(
        form,
        _with_previews(request.model_copy(update={"hints": hints}), form, entry),
        stores_files=(form.response_format or default) == "url",
        hint=joined_hints(stand_in_hint(catalogue, form.model, entry), *form.hints, _without_effect(form, entry, task)),
        names=names,
        transparent=_may_be_transparent(form, entry),
    )


def _names_in(form: ImagesForm) -> dict[str, str]:
    """Return the form's names for the draft's fields, where they differ."""
    return {
        **size_names(form),
        "num_images": "n",
        "images": "image",
        "task": "model",
        **({} if form.true_cfg_scale is None else {"guidance_scale": "true_cfg_scale"}),
        **({"strength": "input_fidelity"} if form.strength is None else {}),
    }


def _without_effect(form: ImagesForm, entry: Entry, task: Task) -> str | None:
    """Return a hint about valid parameters that have no effect here."""
    hints = []
    if form.style is not None:
        hints.append(ignored_hint("style", "describe the style in the prompt"))
    if isinstance(form, EditForm) and form.input_fidelity is not None and task is not Task.IMAGE_TO_IMAGE:
        hints.append(ignored_hint("input_fidelity", f"{task.value} sees the whole image"))
    if isinstance(form, EditForm) and len(form.image) > 1 and task is Task.INPAINT:
        hints.append(f"of {len(form.image)} images only the first is used: {entry.id} inpaints one")
    if form.partial_images and entry.preview is None:
        hints.append(f"partial_images are ignored: {entry.id} has no previews")
    return joined_hints(*hints)


def _may_be_transparent(form: ImagesForm, entry: Entry) -> bool:
    wanted = form.background != "opaque" and form.output_format != "jpeg"
    return entry.family_spec.transparent and wanted and not _has_mask(form)


def _has_mask(form: ImagesForm) -> bool:
    return isinstance(form, EditForm) and form.mask is not None


def check_background(form: ImagesForm, entry: Entry) -> None:
    """Raise InvalidRequest for transparency that a model or a file cannot have."""
    if form.background == "transparent" and not entry.family_spec.transparent:
        raise InvalidRequest("background", f"{entry.id} generates no transparency; choose auto or opaque")
    if form.background == "transparent" and form.output_format == "jpeg":
        raise InvalidRequest("background", "jpeg files have no transparency; choose the output_format png or webp")


def _check_kept(form: ImagesForm, sent_mask: bool) -> None:
    """Raise InvalidRequest for a transparent background with a mask, sent or made of the image's transparent part."""
    if form.background != "transparent" or not _has_mask(form):
        return
    if sent_mask:
        raise InvalidRequest("background", "what a mask keeps is opaque; choose auto or opaque, or leave out the mask")
    raise InvalidRequest(
        "background",
        "the image's transparent part is repainted as a mask's is, and what is kept beside it is opaque; choose auto "
        "or opaque, or send an image without transparency",
    )


def _check_together(form: ImagesForm) -> None:
    refuse_repeated_sides(form)
    if form.partial_images and not form.stream:
        raise InvalidRequest("partial_images", "are only sent in a stream; set stream to true")
    if form.stream and form.response_format == "url":
        raise InvalidRequest("response_format", "must be b64_json in a stream; url is for answers without stream")
    if form.output_format == "png" and form.output_compression not in (None, 100):
        raise InvalidRequest("output_compression", "is for jpeg and webp; png is lossless")


async def _with_hole(form: ImagesForm, entry: Entry, is_dall_e: bool) -> ImagesForm:
    """Return the form with the transparent part of its image as the mask, as with dall-e-2.

    To other models that edit by instruction, transparency is just a missing background, not a hole to fill.
    """
    if not isinstance(form, EditForm) or form.mask is not None:
        return form
    image, edits, inpaints = form.image[0], Task.EDIT in entry.tasks, Task.INPAINT in entry.tasks
    has_holes = edits or inpaints if is_dall_e else inpaints and not edits
    if entry.family_spec.layered or not has_holes or not isinstance(image, UploadedImage):
        return form
    hole = await in_image_thread(hole_in, image.file, "image", image.width * image.height)
    return form if hole is None else form.model_copy(update={"mask": hole})


def _possible_tasks(form: ImagesForm) -> set[Task]:
    match form:
        case EditForm():
            return {Task.EDIT, Task.INPAINT} if form.mask is not None else {Task.EDIT, Task.IMAGE_TO_IMAGE}
        case VariationForm():
            return {Task.IMAGE_TO_IMAGE}
        case _:
            return {Task.TEXT_TO_IMAGE}


def _task_of(form: ImagesForm, entry: Entry) -> Task:
    match form:
        case EditForm(mask=None):
            # A model that cannot follow instructions may still start from an image.
            return first_task(entry, Task.EDIT, Task.IMAGE_TO_IMAGE)
        case EditForm():
            # An edit looks at all images, and still keeps what the mask keeps.
            edits = Task.EDIT in entry.tasks and (len(form.image) > 1 or Task.INPAINT not in entry.tasks)
            return Task.EDIT if edits else Task.INPAINT
        case VariationForm():
            return Task.IMAGE_TO_IMAGE
        case _:
            return Task.TEXT_TO_IMAGE


def _draft(form: ImagesForm, entry: Entry, task: Task, progress: bool) -> Draft:
    settings = entry.tasks[task]
    width, height = sides_of(form, settings)
    try:
        return Draft.of(
            form,
            task=task,
            model=entry.id,
            prompt=form.prompt if isinstance(form, GenerationForm | EditForm) else "",
            width=width,
            height=height,
            num_inference_steps=_steps(form, settings),
            guidance_scale=guidance_scale_of(form),
            num_images=form.n,
            strength=_strength(form, settings, task),
            progress=progress,
            **_images(form, task),
        )
    except ValidationError as error:
        raise WrongField(error) from error


def _steps(form: ImagesForm, settings: TaskSettings) -> int | None:
    if form.num_inference_steps is not None or form.quality == "auto":
        return form.num_inference_steps
    steps = round(settings.defaults.num_inference_steps * STEPS[form.shown_quality])
    return min(max(steps, settings.limits.min_steps), settings.limits.max_steps)


def guidance_scale_of(form: Guided) -> float | None:
    """Return a form's guidance, by either name. Raises InvalidRequest if it uses both."""
    if form.true_cfg_scale is None:
        return form.guidance_scale
    if form.guidance_scale is not None:
        raise InvalidRequest("true_cfg_scale", "is another name for guidance_scale; give only one of them")
    return form.true_cfg_scale


def _strength(form: ImagesForm, settings: TaskSettings, task: Task) -> float | None:
    fidelity = form.input_fidelity if isinstance(form, EditForm) else None
    if fidelity is None:
        return form.strength
    if task is not Task.IMAGE_TO_IMAGE or fidelity == "low" or form.strength is not None:
        return form.strength
    return settings.defaults.strength * HIGH_FIDELITY


def _images(form: ImagesForm, task: Task) -> dict[str, Any]:
    if not isinstance(form, EditForm | VariationForm):
        return {}
    mask = form.mask if isinstance(form, EditForm) else None
    # A mask belongs to the first image.
    images = form.image[:1] if task is Task.INPAINT else form.image
    return {**source_fields(images, task, "image"), "mask": mask}


def _uploaded_px(form: ImagesForm) -> int | None:
    """Return the pixels of all uploads, even if the task uses only the first; None for a form without uploads."""
    if not isinstance(form, EditForm | VariationForm):
        return None
    mask = form.mask if isinstance(form, EditForm) else None
    return sum(image.width * image.height for image in (*form.image, mask) if image is not None)


def _with_previews(request: GenerationRequest, form: ImagesForm, entry: Entry) -> GenerationRequest:
    """Return the request with as many previews as the form asks for, evenly spaced."""
    if not form.partial_images or entry.preview is None:
        return request
    # The number of steps is known only once the request is admitted.
    every = max(1, request.denoising_steps // (form.partial_images + 1))
    return request.model_copy(update={"preview_every": every})
