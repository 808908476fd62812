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
        """Return those that are there now for a model, by its id."""

    def place_for(self, model: str, name: str) -> Path:
        """Return the file that a new one becomes."""


class Entry(Strict):
    """One model that can be served."""

    id: Name
    """What requests call it; in a catalogue file the key of the entry."""
    title: str
    """The name that people see."""
    aliases: tuple[Name, ...] = ()
    """Further names that callers may use, such as those of the servers that Jubako replaces."""
    base: Name | None = None
    """The model that it was made from, which the job contract asks for what this one cannot do."""
    family: str
    """A name of `models.catalogue.families`: which pipelines generate with it; or `generic`, for all others."""
    pipeline: GenericPipeline | None = None
    """Of the family `generic`: what its pipeline is."""
    source: Source
    """Its weights: a folder or repository in diffusers layout, or a single file."""
    config: Source | None = None
    """The pipeline in diffusers layout that describes a single file, and has the components that the file does not
    hold; None: the one of the family's repositories that the file's tensors fit."""
    vae: Source | None = None
    """Another VAE than the one of `source`: a folder, or a file in any layout."""
    text_encoder: Source | None = None
    text_encoder_2: Source | None = None
    text_encoder_3: Source | None = None
    text_encoder_4: Source | None = None
    """Other text encoders, likewise."""
    dtype: Literal["float32", "float16", "bfloat16"]
    """On an accelerator; a CPU always uses float32."""
    variant: str | None = None
    """The `variant` argument of `from_pretrained`, such as fp16."""
    licence: str
    """As its model card says."""
    gated: bool = False
    """Whether the hub asks for an account that accepted the licence."""
    defaults: Defaults
    """What requests of any task get for a field that they leave out."""
    limits: Limits
    """How far requests of every task may go."""
    tasks: Mapping[Task, TaskSettings] = Field(default_factory=dict)
    """What it can do, each with what differs from `defaults` and `limits`; left out: all that its family can."""
    camera: bool = False
    """Whether it was trained on the phrases of `core.generation.camera`."""
    last_image: bool = False
    """Whether a video that starts with an image may end with one: not all checkpoints were trained for it."""
    low_noise_expert: bool = False
    """Whether a second denoiser takes over at low noise (Wan 2.2 A14B); requests may guide it by another scale."""
    loras: Mapping[Name, LoraSpec] = Field(default_factory=dict)
    """By the names that requests use."""
    embeddings: Mapping[Token, EmbeddingSpec] = Field(default_factory=dict)
    """Embeddings of new words, by the tokens that prompts have for them."""
    controlnets: Mapping[Name, ControlNetSpec] = Field(default_factory=dict)
    """By what their control images show, such as canny."""
    ip_adapter: IpAdapterSpec | None = None
    """What lets requests add a reference image."""
    token_opt: TokenOptSpec | None = None
    """What lets inpainting do without the denoiser (`method=token-opt`)."""
    download_gib: float | None = Field(default=None, gt=0)
    """What its weights are to download; None where nobody has said."""
    memory_gib: float = Field(gt=0)
    """Device memory for weights and one default request, in `dtype` and as `memory` says."""
    figures: Figures | None = None
    """Of a shipped model: what has been counted of it."""
    devices: tuple[Device, ...] = ()
    """Where it may run, of the devices in JUBAKO_DEVICE, with all its processes; left out: on any."""
    memory: Memory = Memory()
    """What to trade for memory or speed; left out: nothing."""
    parallel: Parallel | None = None
    """Over how many devices its denoiser is computed; left out: one."""
    components: Mapping[str, DevicePlace] = Field(default_factory=dict)
    """Text encoders and autoencoders on other devices than the model's own, which is then a GPU's."""
    batch_tokens: int = Field(ge=1)
    """Latent tokens that one denoiser call may hold."""
    vocabulary: Path | None = None
    """A JSON file whose `words` lists every word the model knows; None for models that know any word."""
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

        What has a wrong shape stays as it is, for the fields' own checks to refuse.
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
            # It leaves the denoiser as it is.
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
        """Whether a task takes no control image beside a reference image, which to Redux is part of the prompt."""
        return task in self.family_spec.control_alone and not (self.ip_adapter and self.ip_adapter.is_redux)

    @property
    def default_request(self) -> DefaultRequest:
        """What `memory_gib` is needed for, beside weights."""
        return default_request(self.family, self.defaults.guidance_scale, self.defaults.num_frames)

    @property
    def takes_guidance(self) -> bool:
        """Whether a scale can have an effect: the limits allow more than no guidance."""
        return self.limits.guidance_scale[1] > self.family_spec.guided_above

    @property
    def takes_negative_prompt(self) -> bool:
        """Whether one can have an effect: its pipelines use it, and there can be guidance."""
        return self.family_spec.negative_prompt and self.takes_guidance

    @property
    def other_names(self) -> tuple[str, ...]:
        """What callers may also call it: its aliases, and the hub's repository that it is exactly."""
        changed = (
            self.source.file is not None or bool(self.overrides) or any(lora.always for lora in self.loras.values())
        )
        return self.aliases if self.source.repo is None or changed else (*self.aliases, self.source.repo)

    @property
    def device_count(self) -> int:
        """On how many devices it is, each with the denoiser's weights."""
        return 1 if self.parallel is None else self.parallel.ulysses

    @property
    def elsewhere_gib(self) -> Mapping[str, float]:
        """What it needs on other devices, by their names; nothing where that has not been counted."""
        if self.figures is None:
            return {}
        needed = needed_gib(self.figures, self.memory, self.default_request, self.components)
        return {device: gib for device, gib in needed.items() if device != HERE}

    def gib_on(self, devices: Collection[str]) -> dict[str, float]:
        """Return what a replica on these devices takes of each device, those of its components among them."""
        return gib_by_device(devices, self.memory_gib, self.elsewhere_gib)

    @property
    def addons_gib(self) -> float:
        """What its ControlNets and its IP-Adapter take once requests have used each, as far as that is counted."""
        if self.figures is None:
            return 0.0
        repos = {net.source.repo for net in self.controlnets.values()}
        nets = sum(gib for repo, gib in self.figures.controlnets_gib.items() if repo in repos)
        return nets + (self.figures.ip_adapters_gib.get(str(self.ip_adapter.source), 0.0) if self.ip_adapter else 0.0)

    def full_gib_on(self, devices: Collection[str]) -> dict[str, float]:
        """Return the same as `gib_on`, with all that requests may load beside the pipeline."""
        return gib_by_device(devices, self.memory_gib + self.addons_gib, self.elsewhere_gib)

    @property
    def overrides(self) -> Mapping[str, Source]:
        """The components that come from elsewhere than its `source`."""
        given = {name: getattr(self, name) for name in ("vae", *TEXT_ENCODERS)}
        return {name: source for name, source in given.items() if source is not None}

    @property
    def given(self) -> frozenset[str]:
        """What its source may lack: these components, and the tokenizers that are in their folders."""
        encoders = (name for name, source in self.overrides.items() if name in TEXT_ENCODERS and not source.is_one_file)
        return frozenset(self.overrides) | frozenset(map(tokenizer_of, encoders))

    @property
    def choosable_loras(self) -> Mapping[str, LoraSpec]:
        """Those that a request may name now: files may be added to the operator's folder at any time.

        None of a model of several processes, whose weights are those that all of them started with.
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
        """Return the entry with what is in the operator's folder for it, now and later."""
        changed = self.model_copy()
        changed._folder = folder
        return changed

    @property
    def pointers(self) -> tuple[str, ...]:
        """What the operator wrote to point at it, where it is none of the catalogue's."""
        return self._pointers

    def pointed_at_by(self, *texts: str) -> Entry:
        """Return the entry as the one that these texts of the operator mean."""
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
    # As data of an entry, whose shape is checked later.
    tasks = pipeline.get("tasks") if isinstance(pipeline, dict) else None
    return tasks if isinstance(tasks, dict) else ()


def _completed(own: Any, common: Mapping[str, Any]) -> Any:
    if own is None:
        return common
    if not isinstance(own, dict):
        return own
    overridden = {key: {**common[key], **own[key]} for key in common if isinstance(own.get(key), dict)}
    return {**common, **own, **overridden}
