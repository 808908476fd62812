"""From a form to an admitted request: which model and task it means, and how many frames its seconds are."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from api.openai.drafting import guidance_scale_of
from api.openai.errors import CannotDo, WrongField
from api.openai.naming import entry_for, stand_in_hint
from api.openai.sizes import refuse_repeated_sides, sides_of, size_names
from api.openai.videos.forms import VideoForm
from api.openai.videos.reading import VideoBody
from core.errors import InvalidRequest, fields_named, named_through
from core.generation.animation import VIDEOS
from core.generation.draft import Draft
from core.generation.hints import ignored_hint, renamed
from core.generation.request import GenerationRequest, Task
from gateway.gateway import Gateway
from gateway.media.clip_files import first_frame
from gateway.media.reading.uploads import in_image_thread
from gateway.repeating import repeated
from jobs.job import Job
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.animation_videos import fps_of

_OF_THE_SOURCE = dict.fromkeys(Draft.model_fields.keys() - {"prompt"}, "video_id")
"""A remix has all but its prompt from the video that its address names."""


async def admit_video(gateway: Gateway, body: VideoBody, *, background: bool) -> GenerationRequest:
    """Check a form and charge its caller. Raises InvalidRequest, UnknownModel or RateExceeded."""
    with fields_named(body.names):
        return await _admit(gateway, body, background)


async def _admit(gateway: Gateway, body: VideoBody, background: bool) -> GenerationRequest:
    form = body.form
    refuse_repeated_sides(form)
    from_image = form.input_reference is not None or form.named_videos
    task = Task.IMAGE_TO_VIDEO if from_image else Task.TEXT_TO_VIDEO
    entry = entry_for(gateway.catalogue, form.model, {task})
    _check_able(gateway.catalogue, entry, task)
    names = {**size_names(form), "image": "input_reference", "task": "model"}
    if form.seconds is not None and form.num_frames is None:
        names["num_frames"] = "seconds"
    if form.true_cfg_scale is not None:
        names["guidance_scale"] = "true_cfg_scale"
    with fields_named(names):
        request = await gateway.admit(_draft(form, entry, task), background=background)
    hints = (stand_in_hint(gateway.catalogue, form.model, entry), *body.hints, *_repeated(form))
    names = named_through(names, body.names)
    own = (renamed(hint, names) for hint in request.hints)
    return request.model_copy(update={"hints": (*filter(None, hints), *own)})


@dataclass(frozen=True)
class RemixSource:
    """The video that a remix starts from: its job, and its file."""

    job: Job
    file: bytes


async def admit_remix(gateway: Gateway, source: RemixSource, prompt: str) -> GenerationRequest:
    """Check and charge for a remix: a video like another, with the same first frame and a new prompt.

    Raises InvalidRequest, UnknownModel for a model that is no longer served, or RateExceeded.
    """
    if any(source.job.request.get(name) for name in VIDEOS):
        raise InvalidRequest("video_id", "follows other videos, which are kept no longer; send them again instead")
    earlier = GenerationRequest.model_validate({**source.job.request, "hints": ()})
    entry = gateway.catalogue.get(earlier.model)
    _check_able(gateway.catalogue, entry, Task.IMAGE_TO_VIDEO)
    frame = await in_image_thread(first_frame, source.file)
    seed = source.job.results[0].seed
    draft = repeated(earlier, task=Task.IMAGE_TO_VIDEO, prompt=prompt, image=frame, seed=seed, num_images=1)
    with fields_named(_OF_THE_SOURCE):
        return await gateway.admit(draft, background=True)


def _check_able(catalogue: Catalogue, entry: Entry, task: Task) -> None:
    if task not in entry.tasks:
        raise CannotDo(entry, task, [other.id for other in catalogue.entries.values() if task in other.tasks])


def _draft(form: VideoForm, entry: Entry, task: Task) -> Draft:
    width, height = sides_of(form, entry.tasks[task])
    try:
        return Draft.of(
            form,
            task=task,
            model=entry.id,
            image=form.input_reference,
            width=width,
            height=height,
            num_frames=_frames(form, entry, task),
            guidance_scale=guidance_scale_of(form),
            progress=True,
        )
    except ValidationError as error:
        raise WrongField(error) from error


def _frames(form: VideoForm, entry: Entry, task: Task) -> int | None:
    """Return the number of frames, among those the model can generate, that comes nearest to the seconds."""
    if form.num_frames is not None or form.seconds is None:
        return form.num_frames
    settings = entry.tasks[task]
    fps, most = fps_of(form.fps, form.pose_video, settings), settings.limits.max_frames
    multiple = entry.family_spec.lengths_multiple
    frames = max(1 + multiple * round((form.seconds * fps - 1) / multiple), entry.family_spec.least_frames(fps))
    if frames > most:
        raise InvalidRequest(
            "seconds",
            f"{form.seconds:g} at {fps} frames a second are {frames} frames; at most {most} are allowed, which are "
            f"{most / fps:.3g} seconds",
        )
    return frames


def _repeated(form: VideoForm) -> tuple[str, ...]:
    both = form.seconds is not None and form.num_frames is not None
    return (ignored_hint("seconds", "num_frames says how long the video is"),) if both else ()
