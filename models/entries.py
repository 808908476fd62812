"""One entry of the catalogue: a model that can be served, as data. Nothing here imports torch or diffusers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from models.families import FAMILIES, Family
from models.request import Task
from models.sources import Source, Strict

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]


class Defaults(Strict):
    """What a request that leaves a field out gets."""

    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    strength: float = Field(default=0.8, ge=0, le=1)
    scheduler: str
    num_frames: int = Field(default=1, ge=1)
    fps: int = Field(default=16, ge=1, le=60)


class Limits(Strict):
    """How far a request may go; both ends are allowed values."""

    min_px: int
    """Smallest width or height."""
    max_px: int
    """Largest width or height."""
    max_pixels: int
    """Largest width times height."""
    multiple_px: int
    """Width and height must be multiples of this."""
    max_steps: int = Field(ge=1, le=999)
    """Samplers choose among 1000 training times, and some start behind the last one when asked for all."""
    guidance_scale: tuple[float, float]
    max_frames: int = Field(default=1, ge=1)
    max_images: int = Field(default=1, ge=1)
    """Input images of one edit."""


class TaskSettings(Strict):
    """Defaults and limits of one task."""

    defaults: Defaults
    limits: Limits


class Preview(Strict):
    """A linear map from one latent (C values) to one RGB pixel in [-1, 1]: `latent @ weight + bias`."""

    weight: tuple[tuple[float, float, float], ...]
    """(C, 3)"""
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)


class LoraSpec(Strict):
    """A LoRA that requests may name, or that is part of the model."""

    source: Source
    scale: float = 1.0
    """Multiplies the scale of a request, so that 1 is what its author recommends."""
    always: bool = False
    """Part of the model: fused into its weights at load, and not for requests to name."""
    description: str = ""


class ControlNetSpec(Strict):
    """A ControlNet; its key in the catalogue is the `control_type` that chooses it."""

    source: Source
    variant: str | None = None
    scale: float = 1.0
    """The `control_scale` of a request that gives none."""


class IpAdapterSpec(Strict):
    """An IP-Adapter: draws after a reference image."""

    source: Source
    """Its weights, with `subfolder` and `file`."""
    image_encoder: Source
    """The folder of its CLIP vision model."""
    scale: float = 0.6
    """The `reference_scale` of a request that gives none."""


class Quantization(Strict):
    """Weights in fewer bits, by diffusers' own quantizers; each needs its extra to be installed."""

    backend: Literal["bitsandbytes_4bit", "bitsandbytes_8bit", "torchao", "gguf"]
    components: tuple[str, ...]
    """Which of the pipeline's components, such as transformer and text_encoder_2."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the backend's configuration class."""


class Memory(Strict):
    """What to trade for memory or speed."""

    offload: Literal["none", "model", "sequential"] = "none"
    """Keep weights in main memory: whole components, or layer by layer (slow)."""
    vae_slicing: bool = False
    vae_tiling: bool = False
    quantization: Quantization | None = None
    attention: str | None = None
    """A diffusers attention backend, such as flash or _native_cudnn."""
    compile: bool = False
    """Compile the denoiser; batches are then rounded up to `batch_buckets`."""
    batch_buckets: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Samples per pass that a compiled denoiser is built for."""


class Entry(Strict):
    """One model that can be served."""

    id: Name
    title: str
    family: str
    source: Source
    config: Source | None = None
    """Where a single-file checkpoint's configuration is; None lets diffusers find it by the weights' names."""
    dtype: Literal["float32", "float16", "bfloat16"]
    """On an accelerator; a CPU always uses float32."""
    variant: str | None = None
    """The `variant` argument of `from_pretrained`, such as fp16."""
    licence: str
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    defaults: Defaults
    limits: Limits
    tasks: Mapping[Task, TaskSettings] = Field(default_factory=dict)
    """What it can do, each with what differs from `defaults` and `limits`; left out: all that its family can."""
    camera: bool = False
    """Whether it was taught the phrases of `models.camera`."""
    loras: Mapping[Name, LoraSpec] = Field(default_factory=dict)
    controlnets: Mapping[Name, ControlNetSpec] = Field(default_factory=dict)
    ip_adapter: IpAdapterSpec | None = None
    memory_gib: float = Field(gt=0)
    """Device memory for weights and one default request, in `dtype` and as `memory` says."""
    memory: Memory = Memory()
    batch_tokens: int = Field(ge=1)
    """Latent tokens that one denoiser call may hold."""
    vocabulary: Path | None = None
    """A JSON file whose `words` lists every word the model knows; None for models that know any word."""
    preview: Preview | None = None

    @field_validator("family")
    @classmethod
    def _known_family(cls, name: str) -> str:
        if name not in FAMILIES:
            raise ValueError(f"unknown family {name!r}; known: {', '.join(sorted(FAMILIES))}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _complete_tasks(cls, fields: Any) -> Any:
        """Give each task the entry's defaults and limits, overridden by its own."""
        family = FAMILIES.get(fields.get("family"))
        if family is None:
            return fields
        wanted = fields.get("tasks") or {task: {} for task in family.pipelines}
        common = {key: fields.get(key) or {} for key in ("defaults", "limits")}
        tasks = {
            task: {key: {**common[key], **(own or {}).get(key, {})} for key in common} for task, own in wanted.items()
        }
        return {**fields, "tasks": tasks}

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        family = self.family_spec
        for task, settings in self.tasks.items():
            if task not in family.pipelines:
                raise ValueError(f"tasks: {family.name} cannot do {task}; it can do {', '.join(family.pipelines)}")
            _check_settings(f"tasks.{task}", settings, family)
        if self.controlnets and not family.controlled:
            raise ValueError(f"controlnets: {family.name} has no pipelines that take one")
        if self.ip_adapter and not family.ip_adapter:
            raise ValueError(f"ip_adapter: {family.name} has no pipelines that take one")
        return self

    @property
    def family_spec(self) -> Family:
        return FAMILIES[self.family]

    @property
    def choosable_loras(self) -> Mapping[str, LoraSpec]:
        """Those that a request may name."""
        return {name: lora for name, lora in self.loras.items() if not lora.always}

    @cached_property
    def words(self) -> frozenset[str] | None:
        """The words the model knows, in lower case; None if it knows any."""
        if self.vocabulary is None:
            return None
        words = json.loads(self.vocabulary.read_text(encoding="utf-8"))["words"]
        return frozenset(word.lower() for word in words)

    def under(self, folder: Path) -> Entry:
        """Return the entry with all of its relative paths starting at `folder`."""

        def moved(spec: Any) -> Any:
            return spec.model_copy(update={"source": spec.source.under(folder)})

        ip_adapter = self.ip_adapter and moved(self.ip_adapter).model_copy(
            update={"image_encoder": self.ip_adapter.image_encoder.under(folder)}
        )
        changes = {
            "source": self.source.under(folder),
            "config": self.config and self.config.under(folder),
            "vocabulary": self.vocabulary and folder / self.vocabulary,
            "loras": {name: moved(lora) for name, lora in self.loras.items()},
            "controlnets": {name: moved(net) for name, net in self.controlnets.items()},
            "ip_adapter": ip_adapter,
        }
        return self.model_copy(update=changes)


def _check_settings(place: str, settings: TaskSettings, family: Family) -> None:
    """Raise ValueError when defaults break their own limits, or limits what the family needs."""
    defaults, limits = settings.defaults, settings.limits
    wrong = {
        f"limits.multiple_px: must be a multiple of {family.size_multiple_px}, as its family needs": (
            limits.multiple_px % family.size_multiple_px != 0
        ),
        f"defaults.scheduler: unknown scheduler {defaults.scheduler!r}; known: {', '.join(family.schedulers)}": (
            defaults.scheduler not in family.schedulers
        ),
        f"limits.max_images: its family takes at most {family.max_images}": limits.max_images > family.max_images,
        **{f"defaults.{field}: is outside its limits": out for field, out in _outside(defaults, limits).items()},
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise ValueError(f"{place}.{message}")


def _outside(defaults: Defaults, limits: Limits) -> dict[str, bool]:
    def bad_side(side: int) -> bool:
        return not limits.min_px <= side <= limits.max_px or side % limits.multiple_px != 0

    lowest, highest = limits.guidance_scale
    return {
        "width": bad_side(defaults.width) or defaults.width * defaults.height > limits.max_pixels,
        "height": bad_side(defaults.height),
        "num_inference_steps": not 1 <= defaults.num_inference_steps <= limits.max_steps,
        "guidance_scale": not lowest <= defaults.guidance_scale <= highest,
        "num_frames": defaults.num_frames > limits.max_frames,
    }
