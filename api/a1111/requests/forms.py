"""What a client may send to `/sdapi/v1/txt2img` and `/img2img`: A1111's fields that have an effect here.

The fields are those of `modules/processing.py` and `modules/api/models.py` of the web UI 1.10; `unsupported.py` has
the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.generation.client_fields import ClientFields, Seed
from core.generation.hires import MOST_SCALE
from core.generation.tuning import MOST_STEPS, GuidanceEnd, StepCaching
from core.pixels.upload import Pixels

MOST_IMAGES = 16
"""Images of one request, however many the server makes at once."""
MOST_PX = 16_384
"""Pixels a side, for any model; each model has its own limit too."""
MOST_BLUR_PX = 64
Switch = Annotated[bool, BeforeValidator(lambda value: bool(value) if value in (0, 1) else value)]


def _skipped(value: object) -> object:
    """In the web UI, 0 means the default."""
    return value or None


ClipSkip = Annotated[int | None, Field(ge=1, le=12), BeforeValidator(_skipped)]


class Overrides(BaseModel):
    """The settings that affect one request; others are ignored, with a hint."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    sd_model_checkpoint: str | None = Field(default=None, description="A title of /sdapi/v1/sd-models.")
    sd_vae: str | None = Field(default=None, description="Automatic or None: models come with theirs.")
    CLIP_stop_at_last_layers: ClipSkip = Field(default=None, description="1 is all of CLIP, 2 leaves out one layer.")
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd | None = None


class DrawForm(ClientFields):
    """The fields that both share; never used by itself."""

    prompt: str = Field(
        default="",
        description="What to generate, in the web UI's syntax: (word:1.3), [word], BREAK, <lora:name:0.8>.",
        examples=["a (red:1.2) apple on a blue background"],
    )
    negative_prompt: str = Field(default="", description="What to keep out of the image.")
    seed: Seed = None
    sampler_name: str | None = Field(default=None, description="A name of /sdapi/v1/samplers. Default: the model's.")
    sampler_index: str | None = Field(default=None, description="As sampler_name, which takes precedence.")
    scheduler: str | None = Field(default=None, description="A name of /sdapi/v1/schedulers. Default: the sampler's.")
    steps: int | None = Field(default=None, ge=1, description="Denoising steps. Default: the model's.")
    cfg_scale: float | None = Field(default=None, ge=0, description="How closely to follow the prompt.")
    width: int | None = Field(default=None, ge=1, description="Pixels. Default: the model's, or that of the image.")
    height: int | None = Field(default=None, ge=1, description="Pixels. Default: the model's, or that of the image.")
    batch_size: int = Field(default=1, ge=1, le=MOST_IMAGES, description="Images that are generated together.")
    n_iter: int = Field(
        default=1, ge=1, le=MOST_IMAGES, description="How many times, one after the other, with consecutive seeds."
    )
    eta: float | None = Field(default=None, ge=0, le=1, description="Noise that DDIM adds at each step.")
    clip_skip: ClipSkip = Field(default=None, description="As CLIP_stop_at_last_layers, as SD.Next calls it.")
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd = 1
    override_settings: Overrides = Overrides()
    alwayson_scripts: Mapping[str, Any] = Field(
        default={}, description="`ControlNet`: a list of units in `args`; others are refused unless switched off."
    )
    send_images: bool = Field(default=True, description="Whether the answer has the images.")

    @property
    def num_images(self) -> int:
        return self.batch_size * self.n_iter


class TextForm(DrawForm):
    """`POST /sdapi/v1/txt2img`."""

    enable_hr: Switch = Field(
        default=False, description="Whether the image is upscaled, and in part denoised again (hires fix)."
    )
    hr_scale: float = Field(default=2, ge=1, le=MOST_SCALE, description="How many times wider and higher it becomes.")
    hr_resize_x: int = Field(
        default=0, ge=0, le=MOST_PX, description="Its width, in place of hr_scale. 0: in proportion to hr_resize_y."
    )
    hr_resize_y: int = Field(
        default=0, ge=0, le=MOST_PX, description="Its height, in place of hr_scale. 0: in proportion to hr_resize_x."
    )
    hr_upscaler: str | None = Field(
        default=None, description="The server's upscaling model by its name, or Lanczos, also for what only resizes."
    )
    hr_second_pass_steps: int = Field(default=0, ge=0, le=MOST_STEPS, description="Steps at the larger size. 0: steps.")
    denoising_strength: float | None = Field(
        default=None, ge=0, le=1, description="How much to change the upscaled image. Default: 0.75."
    )
    hr_checkpoint_name: str | None = Field(default=None, description="Empty: both passes have one model.")
    hr_sampler_name: str | None = Field(default=None, description="Empty: both have one sampler.")
    hr_scheduler: str | None = Field(default=None, description="Empty: both have one schedule.")
    hr_prompt: str = Field(default="", description="Empty: both have one prompt.")
    hr_negative_prompt: str = Field(default="", description="Empty: both have one negative prompt.")


class ImageForm(DrawForm):
    """`POST /sdapi/v1/img2img`."""

    init_images: tuple[Pixels, ...] = Field(min_length=1, description="The image to start from, in base64.")
    denoising_strength: float | None = Field(
        default=None, ge=0, le=1, description="How much to change the image. Default: the model's."
    )
    resize_mode: int = Field(
        default=0,
        ge=0,
        le=3,
        description="0 and 3 stretch the image to the size, 1 crops it, 2 shows all between bars.",
    )
    mask: Pixels | None = Field(default=None, description="Where to repaint: white.")
    inpainting_mask_invert: Switch = Field(default=False, description="Whether to repaint what is black instead.")
    mask_blur: int | None = Field(
        default=None, ge=0, le=MOST_BLUR_PX, description="How soft its edges are. Default: 4."
    )
    mask_blur_x: int = Field(default=4, ge=0, le=MOST_BLUR_PX, description="The same, across.")
    mask_blur_y: int = Field(default=4, ge=0, le=MOST_BLUR_PX, description="The same, down.")
    inpainting_fill: int = Field(
        default=0,
        ge=0,
        le=3,
        description="What to start from where it is repainted: 0 the colours around, 1 the image, 2 and 3 grey.",
    )
    inpaint_full_res: Switch = Field(
        default=True, description="Whether to generate only what is around the mask, and put it into the image."
    )
    inpaint_full_res_padding: int = Field(
        default=0, ge=0, le=1024, description="Pixels around the mask to generate too."
    )

    @property
    def blurs(self) -> tuple[int, int]:
        """How far the mask's edges are blurred across and down, in pixels of the mask."""
        return (self.mask_blur_x, self.mask_blur_y) if self.mask_blur is None else (self.mask_blur, self.mask_blur)
