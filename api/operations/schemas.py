"""The answers of the operations, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.openapi_description.answer import Answer
from runners.state import ModelState, RunnerState


class Health(Answer):
    status: Literal["healthy", "loading", "degraded"]
    version: str
    models: list[RunnerState]
    model_loaded: bool = Field(description="Whether the model of stories is in memory.")
    lora_path: str | None
    ref_guided_available: bool


class Healthy(Answer):
    status: Literal["healthy"]


class Iterations(Answer):
    iterations: int
    max_iterations: int


class Animation(Answer):
    """Which videos the model takes to move the figure in an image."""

    needed: list[str] = Field(description="Fields of image-to-video that every request must have.")
    together: list[str] = Field(description="Optional fields that go together: all or none.")
    max_frames: int


class Capabilities(Answer):
    """What a model can do, and how far requests may go."""

    id: str
    title: str
    family: str
    licence: str
    gated: bool
    memory_gib: float
    memory: dict[str, Any] = Field(
        description="Options that trade speed for memory, or memory for speed, where they differ from the defaults."
    )
    tasks: dict[str, dict[str, Any]] = Field(description="By task: `defaults`, `limits`, and what else has an effect.")
    schedulers: list[str]
    sigma_schedules: dict[str, list[str]]
    negative_prompt: bool
    sound: bool = Field(description="Whether its videos have sound.")
    transparent: bool = Field(description="Whether its images have an alpha channel.")
    layered: bool = Field(description="Whether `num_images` are the layers of one image.")
    loras: dict[str, str] = Field(description="Their names, and what they do.")
    lora_triggers: dict[str, str]
    embeddings: dict[str, str] = Field(description="Tokens for prompts that embeddings define, and what they do.")
    controlnets: list[str]
    controlled_tasks: list[str]
    ip_adapter: bool
    last_image: bool = Field(description="Whether a video that starts with an image may end with one.")
    animation: Animation | None = Field(description="For models that move the figure in an image as videos show.")
    hires: bool = Field(description="Whether text-to-image can have a second pass at a larger size.")
    token_opt: Iterations | None
    camera: list[str]
    vocabulary: list[str] | None = Field(description="All words that the model knows; null if it knows any.")


class ServedModel(Capabilities):
    state: ModelState
    progress: float | None = Field(description="Progress of loading, 0 to 1.")
    sharing: dict[str, str] | None = Field(
        description="For a loaded model that no family declares: which modules share passes, and why others do not."
    )


class Models(Answer):
    models: list[ServedModel]


UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": Health}}
"""The answer of `/health` while no model can generate."""
