"""What an operator can set about models; `settings.Settings` has these fields too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, Field, field_validator
from pydantic_settings import NoDecode

from core.device_names import DEVICES_PATTERN, first_device

_LOADS = {"true": "start", "1": "start", "false": "demand", "0": "demand"}


class ModelOptions(BaseModel):
    """Fields of the settings: what is served, from where, and when it is in memory."""

    models: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("miniature",),
        min_length=1,
        validation_alias=AliasChoices("JUBAKO_MODELS", "DIFFUSER_MODEL_ID"),
        description="Models to serve, separated by commas: catalogue ids, or any model by its place: a hub repository "
        "as owner/name or owner/name@revision, a file in one as owner/name/file.safetensors, a folder in diffusers "
        "layout, or a .safetensors or .gguf file. The first is the default for requests. A Bento that carries models "
        "serves those by default.",
    )
    aliases: Annotated[dict[str, str], NoDecode] = Field(
        default={},
        description="Names that clients may use for served models: dall-e-3=sdxl,gpt-image-1=flux-dev. "
        "`*=miniature` makes one model stand in for all names that are not served.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="A file with models of your own, in the format of models/catalogue/checkpoints/*.yaml. An entry "
        "replaces the shipped one of the same id; relative paths start at the file's own folder.",
    )
    model_urls: bool = Field(
        default=False,
        description="Whether JUBAKO_MODELS may have http and https addresses of .safetensors and .gguf files, which "
        "are downloaded once.",
    )
    model_cache: Path | None = Field(
        default=None,
        description="A folder for what is found out about models that no catalogue has, for files from addresses, and "
        "for compiled denoisers. Default: the folder jubako in HF_HOME.",
    )
    device: str = Field(
        default="auto",
        pattern=DEVICES_PATTERN,
        validation_alias=AliasChoices("JUBAKO_DEVICE", "DIFFUSER_DEVICE"),
        description="Where models run: auto, cpu, mps, xpu, or a list of cards, as cuda:0,2. Models are placed by free "
        "memory over them; cuda and auto are all NVIDIA cards, auto without one is the first other accelerator or the "
        "CPU, and cpu:N divides the cores among N replicas.",
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None,
        validation_alias=AliasChoices("JUBAKO_DTYPE", "DIFFUSER_TORCH_DTYPE"),
        description="Number format of all models on an accelerator; a CPU always uses float32.",
    )
    load: Literal["start", "demand"] = Field(
        default="start",
        validation_alias=AliasChoices("JUBAKO_LOAD", "DIFFUSER_ENABLE_WARMUP"),
        description="When models are loaded and warmed up: at the start, as many as fit into the memory budget, or on "
        "first use. true and false, the values of DIFFUSER_ENABLE_WARMUP, mean start and demand.",
    )
    idle_unload_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds without a request after which a model is unloaded; the next request loads it again.",
    )
    memory_budget_gib: float | None = Field(
        default=None,
        gt=0,
        description="Memory that all loaded models together may take on one device, by the catalogue's figures. When "
        "it runs short, the least recently used are unloaded. Default: the device's memory.",
    )
    manage: bool = Field(
        default=True,
        description="Whether clients may load and unload models, and move them to other devices.",
    )
    allow_pickle: bool = Field(
        default=False,
        description="Whether checkpoints may be pickles (.bin, .ckpt, .pt), which can run arbitrary code when read.",
    )
    lora_folder: Path | None = Field(
        default=None,
        description="A folder of your own LoRAs, FOLDER/<model id>/<name>.safetensors, which requests may name as soon "
        "as they are there. What cannot be used is skipped, at the start with a warning. POST /models/{id}/loras adds "
        "to it.",
    )
    embedding_folder: Path | None = Field(
        default=None,
        description="A folder of your own embeddings of new words (textual inversions), read at startup: "
        "FOLDER/<model id>/<token>.safetensors. Prompts call each by its token.",
    )
    lora_repos: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Owners, or repositories as owner/name, of the Hugging Face hub from which POST /models/{id}/loras "
        "may fetch LoRAs, separated by commas; * allows all.",
    )
    upscaler: str | None = Field(
        default=None,
        min_length=1,
        description="A super-resolution model (ESRGAN, SPAN, DAT, HAT and others that spandrel knows) for `upscale`: a "
        "file, one of a hub repository as owner/name/file.safetensors, or an address, as in JUBAKO_MODELS. Of .pth "
        "and .pt files tensors alone are read. It needs the extra `upscale`. Default: images are upscaled by Lanczos.",
    )
    upscaler_gib: float = Field(
        default=5.0,
        ge=0,
        description="Memory of the first device that models leave to the upscaling model. Default: what a Real-ESRGAN "
        "of 4x is expected to take for four tiles.",
    )
    max_lora_bytes: int = Field(
        default=2 * 2**30, ge=2**20, description="The largest LoRA that POST /models/{id}/loras takes."
    )

    @property
    def first_device(self) -> str:
        """The device for whatever uses only one."""
        return first_device(self.device)

    @property
    def beside_gib(self) -> Mapping[str, float]:
        """GiB on each device that are not the models', by the device name that operators write."""
        return {} if self.upscaler is None else {self.first_device: self.upscaler_gib}

    @property
    def stands_in(self) -> bool:
        """Whether one model stands in for all unknown names."""
        return "*" in self.aliases

    @field_validator("aliases", mode="before")
    @classmethod
    def _split_aliases(cls, value: object) -> object:
        if isinstance(value, str):
            pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
            return {alias.strip(): model.strip() for alias, _, model in pairs}
        return value

    @field_validator("load", mode="before")
    @classmethod
    def _from_warmup(cls, value: object) -> object:
        return _LOADS.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("models", "lora_repos", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
        return value
