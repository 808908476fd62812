"""Requests, and how to read their answers, without sending anything: both clients share them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx
from PIL import Image as Pillow

from .errors import Refused
from .files import FileSource, read_image
from .results import Frame, Image, Job, Model, Reference, Result, Storyboard, Video, result_of

T = TypeVar("T")

VIDEOS = ("pose_video", "face_video", "background_video", "mask_video")
FILES = ("image", "mask", "last_image", "reference_image", "control_image", *VIDEOS)
STREAM_TASKS = {
    "text_to_image": "text-to-image",
    "image_to_image": "image-to-image",
    "inpaint": "inpaint",
    "edit": "edit",
    "text_to_video": "text-to-video",
    "image_to_video": "image-to-video",
}
"""The typed APIs, and the tasks as which `/stream` knows them."""
JOB_TASKS = {
    "text_to_image": "t2i",
    "image_to_image": "i2i",
    "inpaint": "inpaint",
    "edit": "edit",
    "text_to_video": "t2v",
    "image_to_video": "i2v",
    "storyboard": "storyboard",
}


@dataclass(frozen=True)
class FormBody:
    """A body sent as a form: fields as JSON, files unchanged, piece by piece."""

    fields: Mapping[str, Any]
    files: Sequence[tuple[str, FileSource]]


Body = Mapping[str, Any] | FormBody
"""A mapping is JSON."""


@dataclass(frozen=True)
class ApiCall(Generic[T]):
    """One request, and how to read its answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    body: Body | None = None
    query: Mapping[str, Any] = field(default_factory=dict)


def body_of(parameters: Mapping[str, Any]) -> Body:
    """Return a request's body, without values of None: as JSON or, if it has videos, which are large, as a form."""
    said = {name: value for name, value in parameters.items() if value is not None}
    if said.keys().isdisjoint(VIDEOS):
        return json_of(said)
    files = [(name, _data(said.pop(name))) for name in FILES if name in said]
    files += [("images", _data(image)) for image in said.pop("images", ())]
    return FormBody(said, files)


def json_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON, without those that are None, and with files as base64."""
    body = {name: value for name, value in parameters.items() if value is not None}
    for name in FILES:
        if name in body:
            body[name] = _base64(body[name])
    if "images" in body:
        body["images"] = [_base64(image) for image in body["images"]]
    return body


def generation(api: str, parameters: Mapping[str, Any]) -> ApiCall[Result]:
    return ApiCall("POST", f"/{api}", _file, body_of(parameters))


def streamed(api: str, parameters: Mapping[str, Any]) -> Body:
    """Return the body with which `POST /stream` does what a typed API does."""
    return body_of({"task": STREAM_TASKS[api], **parameters})


def storyboard(parameters: Mapping[str, Any]) -> ApiCall[Storyboard]:
    return ApiCall("POST", "/storyboard", _storyboard, body_of(parameters))


def models() -> ApiCall[list[Model]]:
    return ApiCall("GET", "/models", lambda answer: [Model.of(each) for each in answer.json()["models"]])


def submission(model: str, api: str, parameters: Mapping[str, Any]) -> ApiCall[str]:
    """Return the call that submits a job; the answer is its id."""
    return ApiCall(
        "POST", f"/api/{model}/{JOB_TASKS[api]}", lambda answer: answer.json()["session_id"], body_of(parameters)
    )


def batch(requests: Sequence[Mapping[str, Any]]) -> ApiCall[list[str]]:
    """Return the call that submits many jobs; each request may have `api` and `model`."""
    bodies = []
    for each in requests:
        fields = dict(each)
        bodies.append({"task": JOB_TASKS[fields.pop("api", "text_to_image")], **json_of(fields)})
    return ApiCall("POST", "/api/batch", lambda answer: list(answer.json()["session_ids"]), {"requests": bodies})


def job(job_id: str) -> ApiCall[Job]:
    return ApiCall("GET", f"/api/{job_id}/status", _job)


def jobs(status: str | None, limit: int) -> ApiCall[list[Job]]:
    query = {"limit": limit, **({} if status is None else {"status": status})}
    return ApiCall("GET", "/api/jobs", lambda answer: [Job.of(each) for each in answer.json()["jobs"]], query=query)


def cancelling(job_id: str) -> ApiCall[Job]:
    return ApiCall("DELETE", f"/api/{job_id}", _job)


def prioritizing(job_id: str, priority: str) -> ApiCall[Job]:
    return ApiCall("PATCH", f"/api/{job_id}", _job, {"priority": priority})


def completed(job: Job) -> Job:
    """Return the job if it has completed. Raises Refused if not."""
    if job.status != "completed":
        raise Refused(f"job {job.id}: {job.error or job.message}", code=job.status)
    return job


def first_able(served: Sequence[Model], api: str, parameters: Mapping[str, Any]) -> str:
    """Return the first model that can do what an API does, and takes videos if there are any.

    If there is none, return one for which the server says why it refuses.
    """
    task = STREAM_TASKS.get(api, "text-to-image")
    able = [model for model in served if task in model.tasks]
    follows = any(parameters.get(name) is not None for name in VIDEOS)
    meant = [model for model in able if (model.animation is not None) == follows]
    return next(iter((*meant, *able, *served))).id


def download(about: Mapping[str, Any], model: str) -> ApiCall[Result]:
    """Return the call that fetches a result of a job."""

    def read(answer: httpx.Response) -> Result:
        return result_of(answer.content, about["media_type"], seed=about["seed"], model=model)

    return ApiCall("GET", about["url"], read)


def _data(source: Any) -> FileSource:
    """Return a source as httpx can send it; a source that is a file is not read yet."""
    if isinstance(source, Image | Video):
        return source.data
    return read_image(source) if isinstance(source, Pillow.Image) else source


def _base64(source: Any) -> str:
    return base64.b64encode(read_image(_data(source))).decode()


def _file(answer: httpx.Response) -> Result:
    headers = answer.headers
    seed = headers.get("x-jubako-seed")
    return result_of(
        answer.content,
        headers["content-type"],
        seed=None if seed is None else int(seed),
        model=headers.get("x-jubako-model") or headers["x-jubako-upscaler"],
        hint=headers.get("x-jubako-hint"),
    )


def _job(answer: httpx.Response) -> Job:
    return Job.of(answer.json())


def _storyboard(answer: httpx.Response) -> Storyboard:
    fields = answer.json()
    frames = [_frame(each, fields["model"]) for each in fields["frames"]]
    # Servers of earlier releases return none.
    references = [_reference(each) for each in fields.get("references", ())]
    about = (fields["seed"], fields["model"], fields["error"], fields["warnings"], fields["mode"])
    return Storyboard(frames, *about, references)


def _frame(fields: Mapping[str, Any], model: str) -> Frame:
    image = _image(fields, model)
    return Frame(image, fields["frame_number"], fields["caption"], fields["prompt"], fields["clip_score"])


def _reference(fields: Mapping[str, Any]) -> Reference:
    return Reference(_image(fields, fields["model"]), fields["character"], fields["prompt"])


def _image(fields: Mapping[str, Any], model: str) -> Image:
    data = base64.b64decode(fields["image"])
    image = result_of(data, _media_type(data), seed=fields["seed"], model=model)
    assert isinstance(image, Image)
    return image


def _media_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data.startswith(b"RIFF") else "image/jpeg"
