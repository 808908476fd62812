"""What a request may contain, before the model's defaults and limits are applied.

Every parameter is declared here or in `tuning`; forms of contracts that do not inherit it declare it again. The bounds
are those that hold for any model; what one model allows is in its catalogue entry, and
`models.catalogue.resolving.resolve` checks it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Optional

from PIL import Image
from pydantic import BaseModel, BeforeValidator, Field

from core.generation.animation import AnimationVideos
from core.generation.camera import CameraMove
from core.generation.client_fields import ClientFields, Seed
from core.generation.hires import HiresChoice
from core.generation.request import MOST_FPS, Lora, Method, Priority, Task
from core.generation.tuning import Tuning
from core.generation.upscaling import UpscaleChoice
from core.pixels.fitting import Fit
from core.pixels.upload import Pixels
from core.pixels.video import UploadedVideo

Strength = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="How much to change the image: small values keep most of it, 1 replaces it. Default: the model's.",
    ),
]
Progress = Annotated[bool, Field(description="Send an event for every denoising step.")]
PreviewEvery = Annotated[
    int, Field(ge=0, le=1000, description="Send a small preview image every this many steps; 0 sends none.")
]
ReferenceScale = Annotated[
    float | None,
    Field(
        ge=0,
        le=2,
        description="How strongly the reference image influences the result. Default: the model's.",
    ),
]
ControlType = Annotated[
    str | None,
    Field(description="What the control image shows, as GET /models names it. Default: the only one."),
]
ControlScale = Annotated[
    float | None, Field(ge=0, le=2, description="How strictly to follow the control image. Default: the model's.")
]
NumFrames = Annotated[
    int | None, Field(ge=1, description="Number of frames of the video. Default: that of the poses, or the model's.")
]
FramesPerSecond = Annotated[
    int | None, Field(ge=1, le=MOST_FPS, description="Default: that of the poses, or the model's.")
]
Camera = Annotated[CameraMove | None, Field(description="Camera move, for models trained for it.")]
InpaintingMethod = Annotated[
    Method,
    Field(
        description="How to inpaint: with the denoiser (diffusion), or by optimising latents without it (token-opt)."
    ),
]
Iterations = Annotated[int | None, Field(ge=1, description="Optimisation steps of token-opt. Default: the model's.")]
Scheduler = Annotated[
    str | None,
    Field(
        description="Sampler, possibly with a sigma schedule, by the names in GET /models or those of other programs: "
        "dpmpp_2m_karras is DPM++ 2M Karras. Default: the model's."
    ),
]
FitChoice = Annotated[
    Fit | None,
    Field(
        description="How an image is fitted into a size of other proportions: crop fills it and cuts off both ends, "
        "pad shows all of it between bars, stretch distorts it. Masks and control images follow. Default: crop, where "
        "more than rounding differs."
    ),
]
# BentoML recognises a form's files only as Optional[Image], although they arrive as uploads.
OptionalImage = Optional[Image.Image]  # noqa: UP045

MOST_LORAS = 8
IMAGE = "The image to start from: a PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC file."
IMAGES = "The images to edit, in the order in which the prompt numbers them; repeat the field for several."
REFERENCE_IMAGE = "An image whose subject or style to follow, for models with an IP-Adapter."
CONTROL_IMAGE = "An image that guides the composition, such as edges or a depth map, for models with ControlNets."
MASK = "Where to repaint: white is regenerated, black and transparent are kept. Same size as the image."


def from_json(value: object) -> object:
    """Parse a form's text: a list as JSON, a single name as it stands."""
    if not isinstance(value, str):
        return value
    try:
        if value.lstrip().startswith("["):
            return json.loads(value)
        return [json.loads(value) if value.lstrip().startswith("{") else {"name": value}]
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


Loras = Annotated[
    tuple[Lora, ...],
    Field(
        max_length=MOST_LORAS,
        description="LoRAs to apply, by the names in GET /models; in forms as JSON, or just one name.",
    ),
    # Last, so that the schema describes the list and not the text that is accepted in its place.
    BeforeValidator(from_json),
]


Reproducible = Annotated[
    bool | None,
    Field(
        description="Whether the same request gives the same bytes whatever else the server does. In half precision "
        "that takes passes of one fixed size, which are slower while few requests share them. Default: the server's."
    ),
]


class Basics(ClientFields):
    """The parameters that every task has; None stands for the model's default."""

    prompt: str = Field(description="What to generate.", examples=["a red apple on a blue background"])
    negative_prompt: str = Field(default="", description="What to keep out of the image.")
    model: str | None = Field(default=None, description="Catalogue id. Default: the first model served.")
    width: int | None = Field(default=None, ge=1, description="Pixels. Default: the model's, or that of the image.")
    height: int | None = Field(default=None, ge=1, description="Pixels. Default: the model's, or that of the image.")
    num_inference_steps: int | None = Field(
        default=None, ge=1, description="Denoising steps: more take longer and usually look better."
    )
    guidance_scale: float | None = Field(
        default=None,
        ge=0,
        description="How closely to follow the prompt; 1 or less means no guidance.",
    )
    seed: Seed = None
    num_images: int = Field(
        default=1, ge=1, description="Images to generate, with seed, seed + 1, ...; layers share one seed."
    )
    scheduler: Scheduler = None
    loras: Loras = ()
    priority: Priority = Field(default=Priority.NORMAL, description="0 is served first, 1 is normal, 2 last.")
    reproducible: Reproducible = None
    deadline_s: float | None = Field(
        default=None, gt=0, description="Seconds after which to give up. Default and limit: the server's."
    )


class Parameters(Tuning, Basics):
    """The basics, and the parameters that only some models have."""


class Draft(AnimationVideos, Parameters):
    """A request as the client sent it; images are RGB, and L for the mask."""

    task: Task = Task.TEXT_TO_IMAGE
    fit: FitChoice = None
    image: Pixels | None = None
    mask: Pixels | None = None
    images: tuple[Pixels, ...] = ()
    last_image: Pixels | None = None
    strength: Strength = None
    reference_image: Pixels | None = None
    reference_scale: ReferenceScale = None
    control_image: Pixels | None = None
    control_type: ControlType = None
    control_scale: ControlScale = None
    num_frames: NumFrames = None
    fps: FramesPerSecond = None
    camera: Camera = None
    hires: HiresChoice = None
    upscale: UpscaleChoice = None
    method: InpaintingMethod = Method.DIFFUSION
    iterations: Iterations = None
    progress: Progress = False
    preview_every: PreviewEvery = 0

    @property
    def named_images(self) -> list[tuple[str, Pixels]]:
        """All images that came with the request, each with its field."""
        names = ("image", "mask", "last_image", "reference_image", "control_image")
        single = ((name, getattr(self, name)) for name in names)
        return [*((name, image) for name, image in single if image is not None), *(("images", i) for i in self.images)]

    @property
    def masked_image(self) -> Pixels | None:
        """The image that a mask applies to: the first, if there are several."""
        return self.image or next(iter(self.images), None)

    @property
    def leading(self) -> Pixels | UploadedVideo | None:
        """The upload whose size the result takes unless the request gives one."""
        return self.pose_video or self.masked_image

    @property
    def decoded_px(self) -> int:
        """Pixels of all uploaded images and of all frames of uploaded videos."""
        images = sum(image.width * image.height for _, image in self.named_images)
        return images + sum(video.width * video.height * video.num_frames for video in self.named_videos.values())

    @classmethod
    def of(cls, form: BaseModel, **fields: Any) -> Draft:
        """Return a draft with the fields it shares with a contract's form, and those that the contract translated."""
        shared = {name: getattr(form, name) for name in Draft.model_fields if name in type(form).model_fields}
        return Draft(**{**shared, **fields})
