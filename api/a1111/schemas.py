"""The answers of A1111's API, as OpenAPI describes them, in the shapes of the web UI's `modules/api/models.py`."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from api.openapi_description.answer import Answer
from api.openapi_description.headers import header_references

Nothing: type[Any] = type(None)
"""What commands answer: null."""
HINTED: dict[int | str, dict[str, Any]] = {200: {"headers": header_references(["X-Jubako-Hint"])}, 422: {}}
WRONG: dict[int | str, dict[str, Any]] = {422: {}}


class A1111Done(Answer):
    """An object without fields."""


class A1111Values(Answer):
    """Options or flags by their names."""

    model_config = ConfigDict(extra="allow")


class ControlNetModels(Answer):
    model_list: list[str]


class ControlNetModules(Answer):
    module_list: list[str]
    module_detail: dict[str, Any]


class ControlNetVersion(Answer):
    version: int


class A1111Images(Answer):
    images: list[str] = Field(description="PNG files in base64.")
    parameters: dict[str, Any] = Field(description="The request's fields, without files.")
    info: str = Field(description="JSON: prompts, seeds, size, sampler, and the text of each image in `infotexts`.")


class A1111State(Answer):
    skipped: bool
    interrupted: bool
    stopping_generation: bool
    job: str
    job_count: int = Field(description="Parts (`n_iter`) of the request; 0 while none is drawn.")
    job_timestamp: str
    job_no: int
    sampling_step: int
    sampling_steps: int


class A1111Progress(Answer):
    progress: float = Field(description="0 to 1, of the first of the caller's requests.")
    eta_relative: float = Field(description="Seconds that it will take.")
    state: A1111State
    current_image: str | None = Field(description="A preview, in base64.")
    textinfo: str | None


class A1111Model(Answer):
    title: str
    model_name: str
    hash: str | None
    sha256: str | None
    filename: str
    config: str | None


class A1111Sampler(Answer):
    name: str
    aliases: list[str]
    options: dict[str, str]


class A1111Scheduler(Answer):
    name: str
    label: str
    aliases: list[str] | None
    default_rho: float
    need_inner_model: bool


class A1111Upscaler(Answer):
    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float


class A1111Lora(Answer):
    name: str
    alias: str
    path: str
    metadata: dict[str, str]


class A1111Embedding(Answer):
    step: int | None
    sd_checkpoint: str | None
    sd_checkpoint_name: str | None
    shape: int
    vectors: int


class A1111Embeddings(Answer):
    loaded: dict[str, A1111Embedding] = Field(description="By their words in prompts.")
    skipped: dict[str, A1111Embedding]


class A1111Memory(Answer):
    ram: dict[str, Any]
    cuda: dict[str, Any]


class A1111Scripts(Answer):
    txt2img: list[str]
    img2img: list[str]


class A1111Info(Answer):
    info: str = Field(description="The text of the image's parameters.")
    items: dict[str, str] = Field(description="Its other texts.")
    parameters: dict[str, str] = Field(description="The text's parts.")


class A1111Extra(Answer):
    html_info: str
    image: str = Field(description="A PNG file in base64.")
