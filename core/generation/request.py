"""The one typed request that every contract is translated into.

Everything is decided here: no field is left to a default that lives elsewhere, so that a request made
twice gives the same picture. Knows nothing of HTTP and nothing of torch.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from math import ceil

from pydantic import ConfigDict, Field

from core.generation.animation import VIDEOS, AnimationVideos
from core.generation.client_fields import ClientFields
from core.generation.hires import SecondPass
from core.generation.prompt_syntax import PromptSyntax
from core.generation.step_cache import StepCache
from core.generation.tuning import Tuning
from core.generation.upscaling import UpscaleFactor
from core.pixels.fitting import Fit, Size
from core.pixels.upload import Pixels

FILES = ("image", "mask", "images", "last_image", "reference_image", "control_image", *VIDEOS)
"""The fields of drafts and requests that hold images or videos."""
MOST_FPS = 60
"""Frames a second of a clip."""
SEGMENT_OVERLAP = 1
"""Frames at the start of a clip's segment that repeat the end of the segment before."""


class Task(StrEnum):
    """What is asked for, in the names of the diffusers documentation."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"
    EDIT = "edit"
    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"

    @property
    def is_video(self) -> bool:
        return self in (Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO)

    @property
    def takes_image(self) -> bool:
        """Whether it starts from one image, which has the generated size."""
        return self in (Task.IMAGE_TO_IMAGE, Task.INPAINT, Task.IMAGE_TO_VIDEO)

    @property
    def takes_strength(self) -> bool:
        """Whether it starts from a noised image, and so skips the first part of the schedule."""
        return self in (Task.IMAGE_TO_IMAGE, Task.INPAINT)


class Method(StrEnum):
    """How an inpainting is made."""

    DIFFUSION = "diffusion"
    TOKEN_OPT = "token-opt"
    """Optimises the autoencoder's latents towards the prompt, without the denoiser."""


class Priority(IntEnum):
    """Classes of service; a smaller number is served first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Lora(ClientFields):
    """A LoRA of the catalogue and how strongly it acts."""

    name: str = Field(description="Its name in `GET /models`.")
    scale: float = Field(default=1.0, ge=-4, le=4, description="0 is off, 1 is as trained.")


class GenerationRequest(AnimationVideos, Tuning):
    """One call of one model, with every parameter resolved and checked.

    `image`, `last_image`, `control_image` and `reference_image` are RGB and `mask` is L (255 = repaint); all but the
    reference have `width` x `height` pixels. Videos have `num_frames` frames, of that size except in `face_video`, and
    those of `mask_video` are L (255 = generated). The `images` of an edit keep their own sizes; the one that a mask
    applies to is also `image`. Uploads stay compressed until a runner gets the request, and videos until it starts.
    Image i of `num_images` has `seed + i`, so that it can be generated again alone; layers share one seed.
    """

    # Deadlines may be infinite: warm-up requests have no caller who waits.
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=True)

    model: str
    task: Task
    prompt: str
    negative_prompt: str = ""
    prompt_syntax: PromptSyntax = PromptSyntax.PLAIN
    step_cache: StepCache = StepCache.OFF
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    num_images: int = 1
    layered: bool = False
    """Whether its images are the layers of a single image, from the lowest up; they share one seed."""
    scheduler: str
    strength: float = 1.0
    fit: Fit | None = None
    """How its images were fitted to its size, or will be when they are opened; None where there was no choice."""
    image: Pixels | None = None
    mask: Pixels | None = None
    images: tuple[Pixels, ...] = ()
    """The images of an edit, in the order in which its prompt numbers them."""
    last_image: Pixels | None = None
    """The last frame of a video that starts from `image`."""
    hires: SecondPass | None = None
    """The second pass over each image, which changes the size of the result."""
    upscale: UpscaleFactor | None = None
    """How many times wider and higher each image becomes once it is generated."""
    num_frames: int = 1
    segment_frames: int | None = None
    """Frames in each segment of a clip that is generated in segments, one after the other; None: all at once."""
    fps: int | None = None
    """Frames a second of a video; None for pictures."""
    loras: tuple[Lora, ...] = ()
    """Sorted by name, without duplicates or scales of 0, so that equal sets compare equal."""
    reference_image: Pixels | None = None
    """The image prompt of an IP-Adapter."""
    reference_scale: float = 1.0
    control_image: Pixels | None = None
    """What a ControlNet follows: edges, depth or a pose, depending on `control_type`."""
    control_type: str | None = None
    control_scale: float = 1.0
    control_mode: int | None = None
    """The number that a union ControlNet gives to this `control_type`."""
    method: Method = Method.DIFFUSION
    iterations: int = 0
    """Optimisation steps of token-opt; diffusion has `num_inference_steps`."""
    reproducible: bool = False
    """Whether the result must have the same bytes whatever shares its passes."""
    priority: Priority = Priority.NORMAL
    deadline_s: float | None = None
    """Seconds from acceptance until the request is given up; None waits for ever."""
    progress: bool = False
    """Whether step events are sent; a caller who only wants the picture saves the traffic."""
    preview_every: int = 0
    """Send a small picture of the latents every `preview_every` steps; 0 sends none."""
    hints: tuple[str, ...] = ()
    """What the caller should know about how the request was completed; each begins with the name of a field."""

    def hinted(self, *hints: str) -> GenerationRequest:
        """Return the request with further hints."""
        return self.model_copy(update={"hints": (*self.hints, *hints)})

    @property
    def segments(self) -> int:
        """How many segments its clip is generated in, each with all steps."""
        if self.segment_frames is None:
            return 1
        return ceil((self.num_frames - SEGMENT_OVERLAP) / (self.segment_frames - SEGMENT_OVERLAP))

    @property
    def frames_a_pass(self) -> int:
        """How many frames are denoised at once."""
        return self.segment_frames or self.num_frames

    @property
    def pixels(self) -> int:
        """Pixels of all frames of one image or clip, at the size of its largest pass."""
        return max(width * height for (width, height), _ in self.passes) * self.frames_a_pass

    @property
    def denoising_steps(self) -> int:
        """Denoiser calls expected: image-to-image and inpainting skip the first part of the schedule."""
        return sum(steps for _, steps in self.passes)

    @property
    def runs(self) -> int:
        """How many times its pipeline runs: once for each image, or for all layers of one."""
        return 1 if self.layered else self.num_images

    @property
    def passes(self) -> list[tuple[Size, int]]:
        """The size and the denoising steps of each pass over one image or clip: two passes with `hires`, one for each
        segment of a clip, otherwise one.
        """
        steps = self.num_inference_steps
        if self.task.takes_strength:
            steps = max(1, min(int(steps * self.strength), steps))
        first = ((self.width, self.height), steps)
        if self.hires is not None:
            return [first, (self.hires.size, self.hires.denoising_steps)]
        return [first] * self.segments

    @property
    def generated_px(self) -> int:
        """Pixels of all images or frames, summed over all passes."""
        return sum(width * height for (width, height), _ in self.passes) * self.frames_a_pass * self.num_images

    @property
    def generated_size(self) -> Size:
        """Width and height of each result as its last pass leaves it."""
        return (self.width, self.height) if self.hires is None else self.hires.size

    @property
    def result_size(self) -> Size:
        """Width and height of each result."""
        width, height = self.generated_size
        factor = self.upscale or 1
        return width * factor, height * factor
