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
"""Text encoder components of pipelines, by diffusers' names."""


def tokenizer_of(text_encoder: str) -> str:
    """Return the component that is a text encoder's tokenizer."""
    return text_encoder.replace("text_encoder", "tokenizer")


class CallStage(IntEnum):
    """When a call happens in the life of a picture. Encoding and decoding are single short calls by which
    a request joins or leaves, so they never wait behind the denoising of others.
    """

    ENCODE = 0
    DECODE = 1
    DENOISE = 2
    CONTROL = 3
    """Calls that the denoiser waits for at each step; they go first, so that steps with different ControlNets share."""


class Unguided(StrEnum):
    """Where the unguided half of a guided step is in the calls of a family's pipelines."""

    FIRST_HALF = "first-half"
    """The first half of the samples of each call."""
    SECOND_HALF = "second-half"
    SECOND_CALL = "second-call"
    """The second call of the denoiser in each step."""


IN_ONE_CALL = frozenset({Unguided.FIRST_HALF, Unguided.SECOND_HALF})
"""The values for pipelines that denoise with and without the prompt in one call; others call twice."""


@dataclass(frozen=True)
class Part:
    """One method of one pipeline component whose calls are batched across requests.

    Tensor arguments are concatenated along their first axis, and everything else must be equal to be shared,
    unless the argument is named below.
    """

    component: str
    """The pipeline's attribute, such as `unet`; the part is ignored in a pipeline that lacks it."""
    stage: CallStage
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
    """The argument (B, length) that marks the true positions of `padded`; created if a call lacks it."""
    ignored: frozenset[str] = frozenset()
    """Arguments that the method accepts and does not use."""
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Arguments added to those of the pipeline, to avoid work whose result is not used."""
    numbers: frozenset[str] = frozenset()
    """Factors that may differ between samples: plain numbers that the module gets as a tensor (B, 1, ...)."""
    number_axes: int = 4
    """The axes of that tensor, as many as those of what it multiplies: (B, C, h, w) or (B, length, width)."""
    unpadded: Callable[[Any, Mapping[str, Any]], Any] | None = None
    """Where the module pads: from a call's share of the output, and its arguments, to the output it would get alone."""
    apart: bool = False
    """Whether each call has a pass of its own, with unchanged arguments."""
    seeded: bool = False
    """Whether it draws from PyTorch's default generator, which its caller has just seeded. It is then `apart`."""
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
"""The limit for a prompt in several windows, since the denoiser's attention takes memory for each token."""


@dataclass(frozen=True)
class ClipEncoder:
    """A text encoder whose encodings of several windows can be concatenated."""

    tokenizer: str
    component: str
    normed: bool
    """Whether its pipeline takes the last layer, normed, or else the one before, not normed."""

    @property
    def layer(self) -> int:
        """The layer that is taken, counted from the end."""
        return 1 if self.normed else 2


@dataclass(frozen=True)
class TextTokens:
    """How many tokens of a prompt a pipeline reads: by default, and at most with `max_sequence_length`."""

    usual: int
    most: int


@dataclass(frozen=True)
class PromptWindow:
    """How much of a prompt one text encoder reads."""

    tokenizer: str = "tokenizer"
    """The pipeline's attribute; the window is ignored in a pipeline that lacks it."""
    tokens: int | None = None
    """Tokens of the text itself, unless a request says how many. None: the tokenizer's own maximum, less the tokens
    that it adds, whatever a request says.
    """


@dataclass(frozen=True)
class AnimationSpec:
    """How a figure is moved by videos of poses and of a face."""

    face_px: int
    """The side of the square that face videos are resized to."""
    segment_frames: int
    """The most frames that are generated at once; one more than a multiple of the family's `frames_multiple`."""

    def segment_of(self, num_frames: int, multiple: int) -> int:
        """Return how many frames of a clip of `num_frames` are generated at once."""
        return min(self.segment_frames, 1 + -(-(num_frames - 1) // multiple) * multiple)


def standard_arguments(request: GenerationRequest) -> dict[str, Any]:
    """Return the keyword arguments that most pipelines have in common, except the seed."""
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
    """Return 0: latents and encodings take next to nothing."""
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
    """Repositories that supply what a single file lacks: the usual one first, then those that diffusers infers."""
    parts: tuple[Part, ...]
    schedulers: Samplers
    """Its samplers, by name."""
    size_multiple_px: int
    """Width and height must be multiples of this: VAE factor times the denoiser's own downsampling."""
    denoiser: str = "transformer"
    """The component that denoises; LoRAs are made for it."""
    arguments: Callable[[GenerationRequest], dict[str, Any]] = standard_arguments
    """From a request to the keyword arguments of its pipeline, except the seed."""
    preview_latents: Callable[[Any, GenerationRequest], Any] = first_latents
    """From a pipeline's `latents`, as its step callback sees them, to (C, h, w)."""
    negative_prompt: bool = True
    """Whether its pipelines take one."""
    frames_multiple: int = 1
    """The number of frames that its pipelines generate is one more than a multiple of this."""
    longer_than_s: float = 0.0
    """Videos must be longer than this."""
    float32_components: frozenset[str] = frozenset()
    """Components that stay in float32 whatever the entry's `dtype`; their parts have `casts`."""
    max_images: int = 1
    """Input images of one edit."""
    kept_gib: Callable[[GenerationRequest], float] = keeps_little
    """Device memory that each image of a request holds while it denoises, beside what its calls take."""
    own_size: Mapping[Task, Callable[[float, float], tuple[int, int]]] = field(default_factory=dict, hash=False)
    """For tasks whose pipelines take the size from their image: from its width and height to the generated ones."""
    last_image: bool = False
    """Whether its pipelines can end a video with an image, if the checkpoint was trained for it."""
    loops: bool = False
    """Whether its pipelines need a last image, so that without one a video ends with its first."""
    animation: AnimationSpec | None = None
    """How its pipelines animate a figure; None if they take no videos."""
    controlled: Mapping[Task, str] = field(default_factory=dict)
    """The diffusers class for each task under a ControlNet."""
    controlnet: str = "ControlNetModel"
    """The diffusers class of its ControlNets."""
    controlnet_shares: bool = False
    """Whether its ControlNets also call layers of the denoiser."""
    controlnet_copies: bool = False
    """Whether some of its ControlNets get copies of the denoiser's weights."""
    control_modes: bool = False
    """Whether some of its ControlNets follow several kinds of control images, chosen by a number."""
    ip_adapter: bool = False
    """Whether its pipelines take `ip_adapter_image`."""
    redux: bool = False
    """Whether FLUX.1 Redux can append a reference image to the prompts of its pipelines."""
    control_alone: frozenset[Task] = frozenset()
    """Tasks whose pipelines take no `ip_adapter_image` under a ControlNet."""
    components: Mapping[str, str] = field(default_factory=dict)
    """Components that diffusers does not load itself, each with the function that loads it from the pipeline's folder.

    Functions are given as `module:function`, since their modules import torch.
    """
    own: Mapping[str, Callable[[Any, GenerationRequest], Any]] = field(default_factory=dict, hash=False)
    """Attributes that each request gets a fresh one of: the function that makes it from the loaded one, by name."""
    translated: Mapping[str, str] = field(default_factory=dict)
    """Components whose calls cannot be merged as their pipeline makes them. For each, the function, as
    `module:function`, that takes the methods of its parts, by name, and returns those that the pipeline gets instead.
    """
    vocoder: str | None = None
    """The component that makes the sound of its clips and has its `output_sampling_rate`; None: clips are silent."""
    prepare: str | None = None
    """The function, as `module:function`, that finishes a pipeline after it is loaded."""
    prompt_windows: tuple[PromptWindow, ...] = (PromptWindow(),)
    """What its text encoders read of a prompt; text beyond the largest window has no effect. Empty: all is read."""
    clip_encoders: tuple[ClipEncoder, ...] = ()
    """For pipelines that take encodings of any length, whose prompts may be of any length and have weights."""
    text_tokens: TextTokens | None = None
    """None for pipelines whose windows are fixed."""
    transparent: bool = False
    """Whether its images have an alpha channel."""
    layered: bool = False
    """Whether the images of a request are the layers of one image, generated together."""
    inputs: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    """The arguments of each pipeline's call, where only its signature is known."""
    masks: bool = False
    """Whether its denoisers use attention masks in some passes."""
    chooses_attention: bool = True
    """Whether diffusers can change the attention backend of its denoisers (`set_attention_backend`)."""
    guided_above: float = 1.0
    """Up to this scale there is no guidance, and a negative prompt has no effect."""
    unguided: Unguided | None = None
    """None if steps have no unguided half, or none is known."""
    perturbed_calls: int = 0
    """Further calls in a guided step, of one sample each, in which the denoiser is perturbed: guidance leads away from
    their results."""

    def takes(self, task: Task, argument: str) -> bool:
        """Whether the pipeline of a task has an argument that other families' have."""
        taken = self.inputs.get(self.pipelines[task])
        return taken is None or argument in taken

    @property
    def denoises_in_steps(self) -> bool:
        """Whether the engine sees each step's calls of the denoiser."""
        return any(part.stage is CallStage.DENOISE for part in self.parts)

    @property
    def lengths_multiple(self) -> int:
        """A request's number of frames must be one more than a multiple of this."""
        # Clips made in segments are cut to the requested length.
        return self.frames_multiple if self.animation is None else 1

    @property
    def text_varies(self) -> bool:
        """Whether its denoisers take prompts of any length, with a mask of what is padding."""
        return any(part.padded or part.ragged for part in self.parts if part.stage is CallStage.DENOISE)

    def least_frames(self, fps: int) -> int:
        """Return the number of frames of its shortest video at this frame rate."""
        beyond_first = 0 if self.loops else self.longer_than_s * fps - 1
        least = 1 + self.frames_multiple * (floor(beyond_first / self.frames_multiple) + 1)
        return least if self.animation is None else max(least, SEGMENT_OVERLAP + 1)

    def sampler(self, request: GenerationRequest) -> SchedulerSpec:
        """Return the request's sampler, adjusted to the steps and shift that the request gives."""
        spec = self.schedulers[request.scheduler]
        if request.sigmas or request.timesteps:
            spec = spec.spread(None)
        return spec if request.flow_shift is None else spec.shifted(request.flow_shift)
