"""One entry of the catalogue: a model that can be served, as data. Nothing here imports torch or diffusers."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from core.generation.request import Task
from core.validation import NAME_PATTERN, Strict, did_you_mean, refuse
from models.catalogue.addons import (
    TOKEN_PATTERN,
    ControlNetSpec,
    EmbeddingSpec,
    IpAdapterSpec,
    LoraSpec,
    PreviewSpec,
    TokenOptSpec,
)
from models.catalogue.families import FAMILIES, TEXT_ENCODERS, Family, tokenizer_of
from models.catalogue.families.generic import GENERIC, GenericPipeline
from models.catalogue.limits import Defaults, Limits, TaskSettings
from models.catalogue.memory.components import DevicePlace, component_mistakes
from models.catalogue.memory.figures import Figures
from models.catalogue.memory.needs import HERE, DefaultRequest, default_request, gib_by_device, needed_gib
from models.catalogue.memory.options import (
    Memory,
    clashing_with_controlnets,
    clashing_with_ip_adapters,
    memory_mistakes,
)
from models.catalogue.memory.parallel import Parallel, parallel_mistakes
from models.catalogue.single_files import single_file_mistakes
from models.catalogue.sources import Source
from models.catalogue.task_checks import task_mistakes

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Device = Annotated[str, Field(pattern=r"^(cpu|mps|(cuda|xpu):\d+)$")]
Token = Annotated[str, Field(pattern=TOKEN_PATTERN)]


class LoraShelf(Protocol):
    """Where LoRAs may be added while models are served (`models.catalogue.added.lora_folder`)."""

    def of(self, model: str) -> Mapping[str, LoraSpec]:
        """Return those that it has now for a model, given its id."""

    def place_for(self, model: str, name: str) -> Path:
        """Return the path for a new one."""


class Entry(Strict):
    """One model that can be served."""

    id: Name
    """Its name in requests; in a catalogue file, the key of the entry."""
    title: str
    """Its name for people."""
    aliases: tuple[Name, ...] = ()
    """Further names that callers may use, such as those of the servers that Jubako replaces."""
    base: Name | None = None
    """The model it was derived from, which the job contract uses for tasks that this one lacks."""
    family: str
    """Which pipelines generate with it: a name from `models.catalogue.families`, or `generic` for all others."""
    pipeline: GenericPipeline | None = None
    """Its pipeline, if its family is `generic`."""
    source: Source
    """Its weights: a folder or repository in diffusers layout, or a single file."""
    config: Source | None = None
    """The pipeline in diffusers layout that describes a single file and supplies the components it lacks; None: the
    one of the family's repositories that fits the file's tensors."""
    vae: Source | None = None
    """A VAE that replaces `source`'s: a folder, or a file in any layout."""
    text_encoder: Source | None = None
    text_encoder_2: Source | None = None
    text_encoder_3: Source | None = None
    text_encoder_4: Source | None = None
    """Text encoders that replace `source`'s, likewise."""
    dtype: Literal["float32", "float16", "bfloat16"]
    """The number format on an accelerator; a CPU always uses float32."""
    variant: str | None = None
    """The `variant` argument of `from_pretrained`, such as fp16."""
    licence: str
    """From its model card."""
    gated: bool = False
    """Whether the hub requires an account that has accepted the licence."""
    defaults: Defaults
    """The values of fields that requests leave out, for every task."""
    limits: Limits
    """The limits of requests, for every task."""
    tasks: Mapping[Task, TaskSettings] = Field(default_factory=dict)
    """Its tasks, each with its differences from `defaults` and `limits`; left out: all tasks of its family."""
    camera: bool = False
    """Whether it was trained on the phrases of `core.generation.camera`."""
    last_image: bool = False
    """Whether image-to-video may also be given the last frame, for which not all checkpoints were trained."""
    low_noise_expert: bool = False
    """Whether a second denoiser, with a guidance scale of its own, takes over at low noise (Wan 2.2 A14B)."""
    loras: Mapping[Name, LoraSpec] = Field(default_factory=dict)
    """By the names that requests use."""
    embeddings: Mapping[Token, EmbeddingSpec] = Field(default_factory=dict)
    """Embeddings of new words, by their tokens in prompts."""
    controlnets: Mapping[Name, ControlNetSpec] = Field(default_factory=dict)
    """By the kind of control image, such as canny."""
    ip_adapter: IpAdapterSpec | None = None
    """What lets requests add a reference image."""
    token_opt: TokenOptSpec | None = None
    """The CLIP for inpainting without the denoiser (`method=token-opt`)."""
    download_gib: float | None = Field(default=None, gt=0)
    """The size of its weights to download; None if unknown."""
    memory_gib: float = Field(gt=0)
    """Device memory for weights and one default request, in `dtype` and as `memory` says."""
    figures: Figures | None = None
    """What has been counted of a shipped model."""
    devices: tuple[Device, ...] = ()
    """The devices, among those of JUBAKO_DEVICE, that its processes may use; left out: any."""
    memory: Memory = Memory()
    """What to trade for memory or speed; left out: nothing."""
    parallel: Parallel | None = None
    """How its denoiser is split over several devices; left out: not at all."""
    components: Mapping[str, DevicePlace] = Field(default_factory=dict)
    """The devices of text encoders and autoencoders that are not on the model's own device, which then is a GPU."""
    batch_tokens: int = Field(ge=1)
    """Latent tokens that one denoiser call may hold."""
    vocabulary: Path | None = None
    """A JSON file whose `words` lists every word the model knows; None for models with an open vocabulary."""
    _folder: LoraShelf | None = PrivateAttr(default=None)
    _pointers: tuple[str, ...] = PrivateAttr(default=())
    preview: PreviewSpec | None = None
    """How to show latents, or the name of a JSON file that says so; None for models without previews."""

    @field_validator("family")
    @classmethod
    def _known_family(cls, name: str) -> str:
        if name not in (*FAMILIES, GENERIC):
            known = ", ".join(sorted(FAMILIES))
            raise ValueError(f"{name!r} is unknown; known: {known}{did_you_mean(name, FAMILIES)}")
        return name

    @model_validator(mode="before")
    @classmethod
    def _complete_tasks(cls, fields: dict[str, Any]) -> dict[str, Any]:
        """Give each task the entry's defaults and limits, overridden by its own.

        Values of the wrong shape are left for the fields' own validation to refuse.
        """
        common = {key: fields.get(key) for key in ("defaults", "limits")}
        wanted = fields.get("tasks") or dict.fromkeys(_possible_tasks(fields))
        if not all(isinstance(part, dict) for part in (wanted, *common.values())):
            return fields
        return {**fields, "tasks": {task: _completed(own, common) for task, own in wanted.items()}}

    @model_validator(mode="after")
    def _fits_its_family(self) -> Self:
        if (self.family == GENERIC) != (self.pipeline is not None):
            raise ValueError(f"pipeline: belongs to the family {GENERIC}, which needs it")
        family = self.family_spec
        common = TaskSettings(defaults=self.defaults, limits=self.limits)
        found = []
        for task, settings in self.tasks.items():
            place = "" if settings == common else f"tasks.{task}."
            found += [f"{place}{mistake}" for mistake in task_mistakes(task, settings, family)]
            if task not in family.pipelines:
                found.append(f"tasks: {family.name} cannot do {task}; it can do {', '.join(family.pipelines)}")
        single_file = single_file_mistakes(self.source, self.memory)
        refuse([*found, *self._addon_mistakes(family), *self._memory_mistakes(family), *single_file])
        return self

    def _addon_mistakes(self, family: Family) -> Iterator[str]:
        yield from self._control_mistakes(family)
        yield from self._ip_adapter_mistakes(family)
        if self.last_image and not family.last_image:
            yield f"last_image: {family.name} has no pipelines that take one"
        if self.token_opt and (Task.INPAINT not in self.tasks or self.token_opt.clip.path is None):
            yield "token_opt: needs the task inpaint, and a CLIP in a folder of this machine"

    def _ip_adapter_mistakes(self, family: Family) -> Iterator[str]:
        if self.ip_adapter is None:
            return
        is_file = str(self.ip_adapter.source).endswith(".safetensors")
        if self.ip_adapter.is_redux:
            # Redux leaves the denoiser unchanged.
            if is_file or not family.redux:
                yield "ip_adapter.image_encoder: is missing; only FLUX.1 Redux, a folder or repository, has its own"
            if self.parallel is not None:
                yield "ip_adapter: cannot be combined with parallel: prompts with Redux have odd lengths"
            return
        if not family.ip_adapter:
            yield f"ip_adapter: {family.name} has no pipelines that take one"
        if not is_file:
            yield f"ip_adapter.source: {self.ip_adapter.source} is not the safetensors file of an adapter"
        if clashing := clashing_with_ip_adapters(self.memory, family):
            yield f"ip_adapter: cannot share weights with memory.{clashing}"
        if self.parallel is not None:
            yield "ip_adapter: cannot be combined with parallel, whose helpers know the model's own denoiser alone"

    def _control_mistakes(self, family: Family) -> Iterator[str]:
        if not self.controlnets:
            return
        if not family.controlled:
            yield f"controlnets: {family.name} has no pipelines that take one"
        for kind, net in self.controlnets.items():
            if net.mode is not None and not family.control_modes:
                yield f"controlnets.{kind}.mode: the ControlNets of {family.name} have none"
        if self.parallel is not None:
            yield "controlnets: cannot be combined with parallel: what they say of an image is not split with it"
        if clashing := clashing_with_controlnets(self.memory, family):
            yield f"controlnets: need layers of {family.name}'s denoiser, so not with memory.{clashing}"

    def _memory_mistakes(self, family: Family) -> Iterator[str]:
        yield from memory_mistakes(self.memory, family)
        yield from component_mistakes(self.components, family, self.memory)
        if self.parallel is not None:
            yield from parallel_mistakes(self.parallel, family, self.memory, self.source, self.loras)
        task, settings = next(iter(self.tasks.items()))
        for number, size in enumerate(self.memory.warm):
            wanted = size.model_dump(exclude_none=True)
            defaults = settings.defaults.model_copy(update=wanted)
            for mistake in task_mistakes(task, settings.model_copy(update={"defaults": defaults}), family):
                yield f"memory.warm.{number}.{mistake.removeprefix('defaults.')}"

    @cached_property
    def family_spec(self) -> Family:
        return FAMILIES[self.family] if self.pipeline is None else self.pipeline.family

    def refuses_both(self, task: Task) -> bool:
        """Whether a task refuses a control image beside a reference image, which for Redux is part of the prompt."""
        return task in self.family_spec.control_alone and not (self.ip_adapter and self.ip_adapter.is_redux)

    @property
    def default_request(self) -> DefaultRequest:
        """The request that `memory_gib` has room for, beside weights."""
        return default_request(self.family, self.defaults.guidance_scale, self.defaults.num_frames)

    @property
    def takes_guidance(self) -> bool:
        """Whether a guidance scale can have an effect: the limits allow one that guides."""
        return self.limits.guidance_scale[1] > self.family_spec.guided_above

    @property
    def takes_negative_prompt(self) -> bool:
        """Whether a negative prompt can have an effect: the pipelines use it, and there can be guidance."""
        return self.family_spec.negative_prompt and self.takes_guidance

    @property
    def other_names(self) -> tuple[str, ...]:
        """Other names that callers may use: its aliases, and its hub repository, if it is that unchanged."""
        changed = (
            self.source.file is not None or bool(self.overrides) or any(lora.always for lora in self.loras.values())
        )
        return self.aliases if self.source.repo is None or changed else (*self.aliases, self.source.repo)

    @property
    def device_count(self) -> int:
        """The number of devices it runs on, each with the denoiser's weights."""
        return 1 if self.parallel is None else self.parallel.ulysses

    @property
    def elsewhere_gib(self) -> Mapping[str, float]:
        """GiB that its components need on other devices, by device; empty if they have not been counted."""
        if self.figures is None:
            return {}
        needed = needed_gib(self.figures, self.memory, self.default_request, self.components)
        return {device: gib for device, gib in needed.items() if device != HERE}

    def gib_on(self, devices: Collection[str]) -> dict[str, float]:
        """Return the GiB that a replica on these devices takes of each device, its components' devices included."""
        return gib_by_device(devices, self.memory_gib, self.elsewhere_gib)

    @property
    def addons_gib(self) -> float:
        """GiB of its ControlNets and its IP-Adapter when all have been used, as far as they have been counted."""
        if self.figures is None:
            return 0.0
        repos = {net.source.repo for net in self.controlnets.values()}
        nets = sum(gib for repo, gib in self.figures.controlnets_gib.items() if repo in repos)
        return nets + (self.figures.ip_adapters_gib.get(str(self.ip_adapter.source), 0.0) if self.ip_adapter else 0.0)

    def full_gib_on(self, devices: Collection[str]) -> dict[str, float]:
        """Return the same as `gib_on`, including all that requests may cause to be loaded."""
        return gib_by_device(devices, self.memory_gib + self.addons_gib, self.elsewhere_gib)

    @property
    def overrides(self) -> Mapping[str, Source]:
        """The components that do not come from its `source`."""
        given = {name: getattr(self, name) for name in ("vae", *TEXT_ENCODERS)}
        return {name: source for name, source in given.items() if source is not None}

    @property
    def given(self) -> frozenset[str]:
        """The components that its source may lack: the overridden ones, and tokenizers in the folders of these."""
        encoders = (name for name, source in self.overrides.items() if name in TEXT_ENCODERS and not source.is_one_file)
        return frozenset(self.overrides) | frozenset(map(tokenizer_of, encoders))

    @property
    def choosable_loras(self) -> Mapping[str, LoraSpec]:
        """The LoRAs that a request may name now: files may be added to the operator's folder at any time.

        A model of several processes has none, since all must keep the weights that they started with.
        """
        if self.parallel is not None:
            return {}
        added = {} if self._folder is None else self._folder.of(self.id)
        return {**added, **{name: lora for name, lora in self.loras.items() if not lora.always}}

    @property
    def folder(self) -> LoraShelf | None:
        """The operator's folder of LoRAs, if there is one and the model can take them."""
        return self._folder if self.parallel is None else None

    def with_folder(self, folder: LoraShelf) -> Entry:
        """Return the entry with a folder whose LoRAs for it, now and later, requests may name."""
        changed = self.model_copy()
        changed._folder = folder
        return changed

    @property
    def pointers(self) -> tuple[str, ...]:
        """What the operator wrote to point at it, if it is not from the catalogue."""
        return self._pointers

    def pointed_at_by(self, *texts: str) -> Entry:
        """Return the entry as the model that the operator pointed at with these texts."""
        changed = self.model_copy()
        changed._pointers = texts
        return changed

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

        encoder = self.ip_adapter and self.ip_adapter.image_encoder
        ip_adapter = self.ip_adapter and moved(self.ip_adapter).model_copy(
            update={"image_encoder": encoder and encoder.under(folder)}
        )
        token_opt = self.token_opt and self.token_opt.model_copy(update={"clip": self.token_opt.clip.under(folder)})
        changes = {
            "source": self.source.under(folder),
            "config": self.config and self.config.under(folder),
            "vocabulary": self.vocabulary and folder / self.vocabulary,
            **{name: source.under(folder) for name, source in self.overrides.items()},
            "embeddings": {token: moved(embedding) for token, embedding in self.embeddings.items()},
            "loras": {name: moved(lora) for name, lora in self.loras.items()},
            "controlnets": {name: moved(net) for name, net in self.controlnets.items()},
            "ip_adapter": ip_adapter,
            "token_opt": token_opt,
        }
        return self.model_copy(update=changes)


def _possible_tasks(fields: Mapping[str, Any]) -> Iterable[str]:
    family, pipeline = FAMILIES.get(str(fields.get("family"))), fields.get("pipeline")
    if family is not None:
        return family.pipelines
    # Unvalidated data, whose shape is checked later.
    tasks = pipeline.get("tasks") if isinstance(pipeline, dict) else None
    return tasks if isinstance(tasks, dict) else ()


def _completed(own: Any, common: Mapping[str, Any]) -> Any:
    if own is None:
        return common
    if not isinstance(own, dict):
        return own
    overridden = {key: {**common[key], **own[key]} for key in common if isinstance(own.get(key), dict)}
    return {**common, **own, **overridden}
