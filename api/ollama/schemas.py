"""The answers of Ollama's routes, as OpenAPI describes them."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.openapi_description.answer import Answer


class OllamaImage(Answer):
    model: str
    created_at: str
    response: str
    image: str = Field(description="A PNG file in base64.")
    seed: int
    skipped_steps: int = Field(description="Denoising steps that were predicted instead of computed.")
    done: bool
    done_reason: str
    total_duration: int = Field(description="Nanoseconds.")
    load_duration: int = Field(description="Nanoseconds until generation began.")
    hint: str | None = Field(default=None, description="What the model ignored of the request.")


class OllamaDetails(Answer):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(Answer):
    name: str
    model: str
    modified_at: str
    size: int = Field(description="Bytes of memory that it needs.")
    digest: str
    details: OllamaDetails
    capabilities: list[str]


class OllamaModels(Answer):
    models: list[OllamaModel]


class OllamaShown(Answer):
    license: str
    modelfile: str
    parameters: str
    template: str
    modified_at: str
    details: OllamaDetails
    model_info: dict[str, str]
    capabilities: list[str]


class OllamaVersion(Answer):
    version: str


class OllamaRefused(BaseModel):
    error: str = Field(description="What is wrong, for people.")
