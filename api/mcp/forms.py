"""The tools' arguments. Images are base64, or name results of the caller's own earlier jobs (`earlier_results.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from PIL import Image
from pydantic import Field

from api.http.requests.source_images import source_fields
from api.typed.forms import Encoding
from core.generation.animation import BACKGROUND_VIDEO, FACE_VIDEO, MASK_VIDEO, POSE_VIDEO, AnimationVideos
from core.generation.client_fields import ClientFields
from core.generation.draft import (
    Basics,
    Camera,
    ControlScale,
    ControlType,
    Draft,
    FitChoice,
    FramesPerSecond,
    InpaintingMethod,
    Iterations,
    NumFrames,
    ReferenceScale,
    Strength,
)
from core.generation.hires import HiresChoice
from core.generation.request import Method, Task
from core.generation.tuning import GuidanceEnd, StepCaching
from core.generation.upscaling import UpscaleChoice
from core.pixels.upload import Pixels
from core.pixels.video import VideoField
from gateway.media.encoding import OutputFormat, format_for
from models.catalogue.entry import Entry
from storyboard.characters import MOST_CHARACTERS
from storyboard.story import REFERENCES, Story

SOURCE = "An image file in base64, or the id of an earlier job; ID/2 is its third result."
OF_JOBS = "In base64, or the id of an earlier job with a video."


class Tool(ClientFields):
    background: bool = Field(
        default=False,
        description="Answer at once with the job's id, which job_status takes, instead of waiting for the result.",
    )


class PictureTool(Tool, Encoding, Basics):
    """A tool that makes images or videos with one model. Its only tuning parameters are those that save time."""

    able: ClassVar[tuple[Task, ...]]
    """The tasks it may mean, the preferred one first."""
    names: ClassVar[Mapping[str, str]] = {"task": "model"}
    """The tool's names for a draft's fields, where they differ."""
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd = 1

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.able

    def draft(self, entry: Entry, task: Task) -> Draft:
        """Return the draft for the gateway to admit. Raises InvalidRequest."""
        return Draft.of(self, model=entry.id, task=task, progress=True, **self.inputs(task))

    def inputs(self, task: Task) -> Mapping[str, Any]:  # noqa: ARG002  # of subclasses
        """Return the draft's fields whose names differ by task."""
        return {}

    def file_format(self, task: Task) -> OutputFormat:
        """Return the format of the files. Raises InvalidRequest for one that does not fit the task."""
        return format_for(task, self.output_format)


class Conditioned(ClientFields):
    reference_image: Pixels | None = Field(
        default=None, description=f"Whose subject or style to follow, for models with an IP-Adapter. {SOURCE}"
    )
    reference_scale: ReferenceScale = None
    control_image: Pixels | None = Field(
        default=None, description=f"Edges, depth and the like, for models with ControlNets. {SOURCE}"
    )
    control_type: ControlType = None
    control_scale: ControlScale = None
    fit: FitChoice = None


class GenerateImage(Conditioned, PictureTool):
    able = (Task.TEXT_TO_IMAGE,)

    hires: HiresChoice = None
    upscale: UpscaleChoice = None


class EditImage(PictureTool):
    able = (Task.EDIT, Task.IMAGE_TO_IMAGE)
    names: ClassVar[Mapping[str, str]] = {**PictureTool.names, "image": "images"}

    images: tuple[Pixels, ...] = Field(
        min_length=1, max_length=16, description=f"The prompt may number several. Each: {SOURCE}"
    )
    mask: Pixels | None = Field(
        default=None, description=f"Of the first image: white is edited, black is kept. {SOURCE}"
    )
    camera: Camera = None
    strength: Strength = None
    fit: FitChoice = None
    upscale: UpscaleChoice = None

    def inputs(self, task: Task) -> Mapping[str, Any]:
        return source_fields(self.images, task, "images")


class Inpaint(Conditioned, PictureTool):
    able = (Task.INPAINT,)

    image: Pixels = Field(description=SOURCE)
    mask: Pixels = Field(description=f"White is repainted, black is kept. {SOURCE}")
    strength: Strength = None
    method: InpaintingMethod = Method.DIFFUSION
    iterations: Iterations = None
    upscale: UpscaleChoice = None


class GenerateVideo(AnimationVideos, PictureTool):
    able = (Task.TEXT_TO_VIDEO,)

    image: Pixels | None = Field(default=None, description=f"What the video starts with. {SOURCE}")
    last_image: Pixels | None = Field(
        default=None, description=f"What it ends with, if it starts with an image and the model takes one. {SOURCE}"
    )
    pose_video: VideoField | None = Field(
        default=None, description=f"For models with `animation` in list_models. {POSE_VIDEO} {OF_JOBS}"
    )
    face_video: VideoField | None = Field(default=None, description=f"{FACE_VIDEO} {OF_JOBS}")
    background_video: VideoField | None = Field(default=None, description=f"{BACKGROUND_VIDEO} {OF_JOBS}")
    mask_video: VideoField | None = Field(default=None, description=f"{MASK_VIDEO} {OF_JOBS}")
    num_frames: NumFrames = None
    fps: FramesPerSecond = None
    fit: FitChoice = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        return self.able if self.image is None and not self.named_videos else (Task.IMAGE_TO_VIDEO,)


class MakeStoryboard(Tool, Story):
    images: tuple[Image.Image, ...] = Field(
        default=(), max_length=MOST_CHARACTERS, description=f"{REFERENCES} Each: {SOURCE}"
    )

    @property
    def story(self) -> Story:
        return Story(**{name: getattr(self, name) for name in Story.model_fields})


class ListModels(ClientFields):
    pass


class JobStatus(ClientFields):
    job: str | None = Field(default=None, max_length=200, description="Default: your latest 20 jobs.")
