"""What a family declares: pipelines for tasks, and how their modules' calls share batches.

Nothing here imports torch or diffusers; what handles tensors only uses their methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import floor
from typing import Any

from core.generation.request import SEGMENT_OVERLAP, GenerationRequest, Task
from models.catalogue.families.schedulers import Samplers, SchedulerSpec

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3", "text_encoder_4")
"""Components of pipelines, as diffusers names them."""


def tokenizer_of(text_encoder: str) -> str:
    """Return the component that is a text encoder's tokenizer."""
    return text_encoder.replace("text_encoder", "tokenizer")


class Stage(IntEnum):
    """When a call happens in the life of a picture. Encoding and decoding are single short calls that
    let a request join or leave, so they never wait behind the denoising of others.
    """

    ENCODE = 0
    DECODE = 1
    DENOISE = 2
    CONTROL = 3
    """Calls that the denoiser waits for at each step; first, so that steps under different ControlNets share."""


class Unguided(StrEnum):
    """Where the pipelines of a family have the half of a guided step that does not see the prompt."""

    FIRST_HALF = "first-half"
    """Of the samples of each call."""
    SECOND_HALF = "second-half"
    SECOND_CALL = "second-call"
    """Of the denoiser in each step."""


IN_ONE_CALL = frozenset({Unguided.FIRST_HALF, Unguided.SECOND_HALF})
"""How pipelines guide that denoise with and without the prompt in one call; others call twice."""


@dataclass(frozen=True)
class Part:
    """One method of one pipeline component whose calls are batched across requests.

    Tensor arguments are concatenated along their first axis, and everything else must be equal to be shared,
    unless the argument is named below.
    """

    component: str
    """The pipeline's attribute, such as `unet`. A pipeline that lacks it does without."""
    stage: Stage
    method: str = "forward"
    shared: frozenset[str] = frozenset()
    """Tensors that hold for the whole batch (FLUX `img_ids`): they must have equal contents."""
    listed: frozenset[str] = frozenset()
    """Lists with one entry per sample (Qwen-Image `img_shapes`, Z-Image `x`), joined end to end."""
    ragged: frozenset[str] = frozenset()
    """Lists of tensors whose shapes may differ, since the module pads them itself (Z-Image `cap_feats`)."""
    stacked: frozenset[str] = frozenset()
    """Tensors (layers, B, ...), whose batch axis is the second (HiDream `encoder_hidden_states_llama3`)."""
    padded: frozenset[str] = frozenset()
    """Tensors (B, length, ...), or several by name, that are padded with zeros to the longest of the batch."""
    padding_mask: str | None = None
    """The argument (B, length) that marks the true positions of `padded`; made where it is missing."""
    ignored: frozenset[str] = frozenset()
    """Arguments that the method accepts and does not use."""
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments given beside those of the pipeline, to spare work whose result nobody reads."""
    numbers: frozenset[str] = frozenset()
    """Factors that may differ between samples: plain numbers that the module gets as a tensor (B, 1, ...)."""
    number_axes: int = 4
    """Of that tensor, as many as what it multiplies has: (B, C, h, w) or (B, length, width)."""
    unpadded: Callable[[Any, Mapping[str, Any]], Any] | None = None
    """From a call's share of an output, and its arguments, to what it would have got alone, where the module pads."""
    apart: bool = False
    """Whether each call has a pass of its own, with its arguments as they are."""
    seeded: bool = False
    """Whether it draws from PyTorch's own generator, to which its caller has just given a seed. It is then `apart`."""
    memoised: bool = False
    """Whether equal inputs may share one result (text encoders)."""
    casts: bool = False
    """Whether floating inputs are cast to the module's dtype and outputs back: a VAE may need a wider one than
    the denoiser.
    """
    pixels_per_token: int = 1
    """Input positions that count as one latent token of the batch budget."""
    sample_tokens: Callable[[Any, Mapping[str, Any]], int] | None = None
    """From the module and a call's arguments to the latent tokens of each sample, where the module pads them."""


MAX_ENCODED_TOKENS = 10_000
"""Of a prompt in several windows: the memory of the denoiser's attention grows with them."""


@dataclass(frozen=True)
class ClipEncoder:
    """A text encoder whose encodings of several windows can stand behind one another."""

    tokenizer: str
    component: str
    normed: bool
    """Whether its pipeline takes the last layer, after the norm, or the one before, without."""

    @property
    def layer(self) -> int:
        """The layer that is taken, counted from the end."""
        return 1 if self.normed else 2


@dataclass(frozen=True)
class TextTokens:
    """How many tokens of a prompt a pipeline reads without `max_sequence_length`, and with it at most."""

    usual: int
    most: int


@dataclass(frozen=True)
class PromptWindow:
    """How much of a prompt one text encoder reads."""

    tokenizer: str = "tokenizer"
    """The pipeline's attribute. A pipeline that lacks it has other windows."""
    tokens: int | None = None
    """Tokens of the text itself, unless a request says how many; None: as many as the tokenizer says, less those that
    it adds, whatever a request says.
    """


@dataclass(frozen=True)
class AnimationSpec:
    """How a figure is moved by videos of poses and of a face."""

    face_px: int
    """The side of the square in which the face is seen."""
    segment_frames: int
    """The most frames that are generated at once; one more than a multiple of the family's `frames_multiple`."""

    def segment_of(self, num_frames: int, multiple: int) -> int:
        """Return how many frames are generated at once of a clip of so many."""
        return min(self.segment_frames, 1 + -(-(num_frames - 1) // multiple) * multiple)


def standard_arguments(request: GenerationRequest) -> dict[str, Any]:
    """The keyword arguments that most pipelines agree on, seed aside."""
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or None,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
        "output_type": "pil",
    }
    if request.image is not None:
        arguments["image"] = request.image
    if request.task in (Task.IMAGE_TO_IMAGE, Task.INPAINT):
        arguments["strength"] = request.strength
    if request.task is Task.INPAINT:
        arguments["mask_image"] = request.mask
    if request.task.is_video:
        arguments["num_frames"] = request.num_frames
    if request.last_image is not None:
        arguments["last_image"] = request.last_image
    if request.reference_image is not None:
        arguments["ip_adapter_image"] = request.reference_image
    if request.control_image is not None:
        arguments |= {"control_image": request.control_image, "controlnet_conditioning_scale": request.control_scale}
    if request.control_mode is not None:
        arguments["control_mode"] = request.control_mode
    return arguments


def keeps_little(_request: GenerationRequest) -> float:
    """GiB of latents and encodings, as good as none."""
    return 0.0


def first_latents(latents: Any, _request: GenerationRequest) -> Any:
    """Latents of one picture as (C, h, w), from (1, C, h, w)."""
    return latents[0]


def packed_latents(vae_factor: int) -> Callable[[Any, GenerationRequest], Any]:
    """Make a function that takes latents from (1, h/2 * w/2, C * 4), as FLUX packs them, to (C, h, w)."""

    def unpack(latents: Any, request: GenerationRequest) -> Any:
        h, w = request.height // (2 * vae_factor), request.width // (2 * vae_factor)
        channels = latents.shape[-1] // 4
        grid = latents[0, : h * w].reshape(h, w, channels, 2, 2)  # (h, w, C, 2, 2)
        return grid.permute(2, 0, 3, 1, 4).reshape(channels, 2 * h, 2 * w)

    return unpack


@dataclass(frozen=True)
class Family:
    """One architecture: everything that is the same for all of its checkpoints."""

    name: str
    pipelines: Mapping[Task, str]
    """The diffusers class for each task."""
    bases: tuple[str, ...]
    """Repositories with what a single file lacks: the usual one, and those that diffusers knows by its tensors."""
    parts: tuple[Part, ...]
    schedulers: Samplers
    """The samplers it can be sampled with, by name."""
    size_multiple_px: int
    """Width and height must be multiples of this: VAE factor times the denoiser's own downsampling."""
    denoiser: str = "transformer"
    """The component that denoises; LoRAs are made for it."""
    arguments: Callable[[GenerationRequest], dict[str, Any]] = standard_arguments
    """From a request to the keyword arguments of its pipeline, seed aside."""
    preview_latents: Callable[[Any, GenerationRequest], Any] = first_latents
    """From a pipeline's `latents`, as its step callback sees them, to (C, h, w)."""
    negative_prompt: bool = True
    """Whether its pipelines take one."""
    frames_multiple: int = 1
    """Its pipelines make one frame more than a multiple of this."""
    longer_than_s: float = 0.0
    """Seconds that a video must be longer than."""
    float32_components: frozenset[str] = frozenset()
    """Components that are kept in float32 whatever the rest is in; their parts cast."""
    max_images: int = 1
    """Input images of one edit."""
    kept_gib: Callable[[GenerationRequest], float] = keeps_little
    """Of a device's memory: what each image of a request keeps for as long as it denoises, beside what calls take."""
    own_size: Mapping[Task, Callable[[float, float], tuple[int, int]]] = field(default_factory=dict, hash=False)
    """Of pipelines that ask only their image for the size: from its width and height to those that they generate."""
    last_image: bool = False
    """Whether its pipelines can end a video with an image, if the checkpoint was trained for it."""
    loops: bool = False
    """Whether a video ends with its first image unless it is given a last one, since its pipelines need both."""
    animation: AnimationSpec | None = None
    """What its pipelines move a figure by; None for those that take no videos."""
    controlled: Mapping[Task, str] = field(default_factory=dict)
    """The diffusers class for each task under a ControlNet."""
    controlnet: str = "ControlNetModel"
    """The diffusers class of its ControlNets."""
    controlnet_shares: bool = False
    """Whether they call layers of the denoiser, besides their own."""
    controlnet_copies: bool = False
    """Whether some of them get copies of weights of the denoiser."""
    control_modes: bool = False
    """Whether some of them follow several kinds of control images, each given by a number."""
    ip_adapter: bool = False
    """Whether its pipelines take `ip_adapter_image`."""
    redux: bool = False
    """Whether FLUX.1 Redux can put a reference image behind the prompts of its pipelines."""
    control_alone: frozenset[Task] = frozenset()
    """Tasks whose pipelines take no `ip_adapter_image` under a ControlNet."""
    components: Mapping[str, str] = field(default_factory=dict)
    """Components that diffusers does not load itself, each with the function that loads it from the pipeline's folder.

    Functions are named, as `module:function`, since their modules import torch.
    """
    own: Mapping[str, Callable[[Any, GenerationRequest], Any]] = field(default_factory=dict, hash=False)
    """Attributes that a pipeline gets new for each request: by name, the function that makes one of the loaded one."""
    translated: Mapping[str, str] = field(default_factory=dict)
    """Components whose pipelines call them otherwise than calls can be merged. Each with the function, as
    `module:function`, that is given the methods of its parts, by name, and returns those that its pipeline gets.
    """
    vocoder: str | None = None
    """The component that makes the sound of its clips, and says its `output_sampling_rate`. None: they are silent."""
    prepare: str | None = None
    """The function, as `module:function`, that completes a pipeline once it is loaded."""
    prompt_windows: tuple[PromptWindow, ...] = (PromptWindow(),)
    """What its text encoders read of a prompt; what is behind the largest window has no effect. None: everything."""
    clip_encoders: tuple[ClipEncoder, ...] = ()
    """Of pipelines that take encodings of any length: prompts of any length are read, and may have weights."""
    text_tokens: TextTokens | None = None
    """None for pipelines whose windows are fixed."""
    transparent: bool = False
    """Whether its images have an alpha channel."""
    layered: bool = False
    """Whether the images of a request are the layers of one, which its pipelines make at once."""
    inputs: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    """By pipeline: the arguments of its call, where its signature is all that is known of it."""
    masks: bool = False
    """Whether some passes of its denoisers have attention masks."""
    chooses_attention: bool = True
    """Whether diffusers lets its denoisers attend by another backend (`set_attention_backend`)."""
    guided_above: float = 1.0
    """Up to this scale there is no guidance, and a negative prompt has no effect."""
    unguided: Unguided | None = None
    """None where all steps are computed once, or nobody knows."""
    perturbed_calls: int = 0
    """Calls of the denoiser in a guided step, after that with and without the prompt, of one sample each: what it does
    while it is perturbed is what guides away from that."""

    def takes(self, task: Task, argument: str) -> bool:
        """Whether the pipeline of a task has an argument that those of other families have."""
        taken = self.inputs.get(self.pipelines[task])
        return taken is None or argument in taken

    @property
    def denoises_in_steps(self) -> bool:
        """Whether the engine sees each step's calls of the denoiser."""
        return any(part.stage is Stage.DENOISE for part in self.parts)

    @property
    def lengths_multiple(self) -> int:
        """A video that is asked for has one frame more than a multiple of this."""
        # What is made in segments is cut to its length.
        return self.frames_multiple if self.animation is None else 1

    @property
    def text_varies(self) -> bool:
        """Whether its denoisers take prompts of any length, with a mask of what is padding."""
        return any(part.padded or part.ragged for part in self.parts if part.stage is Stage.DENOISE)

    def least_frames(self, fps: int) -> int:
        """Return how many frames its shortest video has at so many a second."""
        beyond_first = 0 if self.loops else self.longer_than_s * fps - 1
        least = 1 + self.frames_multiple * (floor(beyond_first / self.frames_multiple) + 1)
        return least if self.animation is None else max(least, SEGMENT_OVERLAP + 1)

    def sampler(self, request: GenerationRequest) -> SchedulerSpec:
        """Return the request's sampler, with what the request says of its steps."""
        spec = self.schedulers[request.scheduler]
        if request.sigmas or request.timesteps:
            spec = spec.spread(None)
        return spec if request.flow_shift is None else spec.shifted(request.flow_shift)
