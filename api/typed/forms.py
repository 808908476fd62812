"""The typed APIs' inputs: the shared parameters of `core.generation.draft`, plus those that only HTTP clients send.

BentoML derives an API's schema from its form. It would also parse requests and answer mistakes in its own way, but
`TypedForm.from_http_request` replaces that step and passes the method a `TypedCall`, which may hold the mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Generic, Literal, Self, TypeVar

import bentoml
from PIL import Image
from pydantic import Field, WithJsonSchema, WrapValidator
from starlette.requests import Request

from api.http.requests.forms import check_files, validated
from api.http.requests.parsing import read_fields
from core.errors import JubakoError
from core.generation.animation import BACKGROUND_VIDEO, FACE_VIDEO, MASK_VIDEO, POSE_VIDEO
from core.generation.client_fields import ClientFields
from core.generation.draft import (
    CONTROL_IMAGE,
    IMAGE,
    IMAGES,
    MASK,
    REFERENCE_IMAGE,
    Camera,
    ControlScale,
    ControlType,
    Draft,
    FitChoice,
    FramesPerSecond,
    InpaintingMethod,
    Iterations,
    NumFrames,
    OptionalImage,
    Parameters,
    PreviewEvery,
    Progress,
    ReferenceScale,
    Strength,
)
from core.generation.hires import HiresChoice
from core.generation.request import Method, Task
from core.generation.upscaling import UpscaleChoice, UpscaleFactor
from core.pixels.upload import UploadedImage
from gateway.media.encoding import DEFAULT_QUALITY, OutputFormat, format_for

FIRST_MASK = f"Of the first image. {MASK}"
FIRST_FRAME = "The image that the video starts with."
LAST_FRAME = "The image that the video ends with, for models that take one (`last_image` in GET /models)."
TO_UPSCALE = "The image to upscale: a PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC file."
_VIDEO_SCHEMA = {"anyOf": [{"type": "file", "format": "video", "content_type": "video/*"}, {"type": "null"}]}
OptionalVideo = Annotated[
    Path | None, WrapValidator(lambda video, _as_path: video), WithJsonSchema(_VIDEO_SCHEMA, mode="validation")
]
"""Typed as BentoML needs it, which supports no optional file with a media type; its value is an `UploadedVideo`."""
FIXED_TASK = "Fixed; accepted so that the parameters in an image's metadata can be sent back unchanged."


class Encoding(ClientFields):
    output_format: OutputFormat | None = Field(
        default=None,
        description="For images png (the default), jpeg or webp; for videos mp4 (the default), webm or gif.",
    )
    quality: int = Field(
        default=DEFAULT_QUALITY, ge=1, le=100, description="For all formats but PNG and GIF, which have none."
    )


class TypedForm(bentoml.IODescriptor):
    """An API's input; subclasses and their other bases declare its fields."""

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> TypedCall[Self]:  # noqa: ARG003  # BentoML's signature
        try:
            return TypedCall(request, await cls._read(request))
        except JubakoError as error:
            return TypedCall(request, error)

    @classmethod
    async def _read(cls, request: Request) -> Self:
        fields = await read_fields(request, files=cls.multipart_fields)
        await check_files(fields, cls.multipart_fields)
        return validated(fields, cls)


class PictureForm(TypedForm, Encoding, Parameters):
    """The parameters that all generating APIs share; never used by itself."""

    @property
    def draft(self) -> Draft:
        return Draft.of(self)

    @property
    def file_format(self) -> OutputFormat:
        """The format of the result's files. Raises InvalidRequest for one that does not fit the task."""
        return format_for(self.task, self.output_format)


class Conditioned(ClientFields):
    """What guides an image beside its prompt."""

    reference_image: OptionalImage = Field(default=None, description=REFERENCE_IMAGE)
    reference_scale: ReferenceScale = None
    control_image: OptionalImage = Field(default=None, description=CONTROL_IMAGE)
    control_type: ControlType = None
    control_scale: ControlScale = None
    fit: FitChoice = None


class Upscaled(ClientFields):
    """What is done with an image once it is generated."""

    upscale: UpscaleChoice = None


class TextToImage(Upscaled, Conditioned, PictureForm):
    task: Literal[Task.TEXT_TO_IMAGE] = Field(default=Task.TEXT_TO_IMAGE, description=FIXED_TASK)
    hires: HiresChoice = None


class ImageToImage(Upscaled, Conditioned, PictureForm):
    task: Literal[Task.IMAGE_TO_IMAGE] = Field(default=Task.IMAGE_TO_IMAGE, description=FIXED_TASK)
    image: Image.Image = Field(description=IMAGE)
    strength: Strength = None


class Inpaint(Upscaled, Conditioned, PictureForm):
    task: Literal[Task.INPAINT] = Field(default=Task.INPAINT, description=FIXED_TASK)
    image: Image.Image = Field(description=IMAGE)
    mask: Image.Image = Field(description=MASK)
    strength: Strength = None
    method: InpaintingMethod = Method.DIFFUSION
    iterations: Iterations = None


class Edit(Upscaled, PictureForm):
    task: Literal[Task.EDIT] = Field(default=Task.EDIT, description=FIXED_TASK)
    images: list[Image.Image] = Field(min_length=1, description=IMAGES)
    mask: OptionalImage = Field(default=None, description=FIRST_MASK)
    fit: FitChoice = None
    camera: Camera = None


class TextToVideo(PictureForm):
    task: Literal[Task.TEXT_TO_VIDEO] = Field(default=Task.TEXT_TO_VIDEO, description=FIXED_TASK)
    num_frames: NumFrames = None
    fps: FramesPerSecond = None


class AnimationVideoFields(ClientFields):
    """The videos of `core.generation.animation`, typed as BentoML takes files."""

    pose_video: OptionalVideo = Field(default=None, description=POSE_VIDEO)
    face_video: OptionalVideo = Field(default=None, description=FACE_VIDEO)
    background_video: OptionalVideo = Field(default=None, description=BACKGROUND_VIDEO)
    mask_video: OptionalVideo = Field(default=None, description=MASK_VIDEO)


class ImageToVideo(AnimationVideoFields, PictureForm):
    task: Literal[Task.IMAGE_TO_VIDEO] = Field(default=Task.IMAGE_TO_VIDEO, description=FIXED_TASK)
    image: Image.Image = Field(description=FIRST_FRAME)
    last_image: OptionalImage = Field(default=None, description=LAST_FRAME)
    fit: FitChoice = None
    num_frames: NumFrames = None
    fps: FramesPerSecond = None


class Stream(AnimationVideoFields, Upscaled, Conditioned, PictureForm):
    task: Task = Field(default=Task.TEXT_TO_IMAGE, description="What to do.")
    image: OptionalImage = Field(default=None, description=IMAGE)
    mask: OptionalImage = Field(default=None, description=MASK)
    images: list[Image.Image] = Field(default=[], description=IMAGES)
    last_image: OptionalImage = Field(default=None, description=LAST_FRAME)
    strength: Strength = None
    num_frames: NumFrames = None
    fps: FramesPerSecond = None
    camera: Camera = None
    hires: HiresChoice = None
    method: InpaintingMethod = Method.DIFFUSION
    iterations: Iterations = None
    progress: Progress = True
    preview_every: PreviewEvery = 0


class Upscale(TypedForm):
    """An image to enlarge without generating it again."""

    image: Image.Image = Field(description=TO_UPSCALE)
    upscale: UpscaleFactor = Field(
        default=UpscaleFactor.TWO, description="How many times wider and higher it becomes: 2 or 4."
    )
    output_format: Literal["png", "jpeg", "webp"] = Field(default="png", description="Of the answer.")
    quality: int = Field(default=DEFAULT_QUALITY, ge=1, le=100, description="For all formats but PNG, which has none.")

    @property
    def upload(self) -> UploadedImage:
        """The uploaded file."""
        image: object = self.image
        assert isinstance(image, UploadedImage)
        return image


FormT = TypeVar("FormT", bound=TypedForm, covariant=True)


@dataclass(frozen=True)
class TypedCall(Generic[FormT]):
    """One HTTP request to a typed API."""

    model_fields: ClassVar[tuple[str, ...]] = ("call",)
    """The attributes of `from_http_request`'s result that BentoML passes to the API's method."""

    request: Request
    _read: FormT | JubakoError

    @property
    def call(self) -> Self:
        return self

    @property
    def form(self) -> FormT:
        """The form. Raises the JubakoError with which reading it ended."""
        if isinstance(self._read, JubakoError):
            raise self._read
        return self._read
