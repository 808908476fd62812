"""What an entry may add to its pipelines: LoRAs, ControlNets, an IP-Adapter, token-opt, previews."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.validation import Strict
from models.catalogue.sources import Source

TOKEN_PATTERN = r"^\S{2,64}$"
"""The pattern of an embedding's token: no spaces, since it is one word of a prompt."""
Scale = Annotated[float, Field(ge=0, le=2)]


class LoraSpec(Strict):
    """A LoRA that requests may name, or that is part of the model."""

    source: Source
    scale: float = 1.0
    """Multiplies the request's scale, so that a request's 1 is what the LoRA's author recommends."""
    component: Literal["transformer_2"] | None = None
    """The denoiser that it is for, if not the first: Wan 2.2 has a second one for the less noisy steps."""
    always: bool = False
    """Whether it is fused into the model's weights at load; requests then cannot name it."""
    description: str = ""
    """For people who choose among them."""
    trigger: str = ""
    """Words of a prompt that trigger it; storyboards put them before every prompt."""


class EmbeddingSpec(Strict):
    """An embedding of a new word (textual inversion); its key in the catalogue is its token in prompts."""

    source: Source
    description: str = ""
    """For people who choose among them."""


class ControlNetSpec(Strict):
    """A ControlNet; its key in the catalogue is the `control_type` that chooses it."""

    source: Source
    variant: str | None = None
    """The `variant` argument of `from_pretrained`, such as fp16."""
    scale: Scale = 1.0
    """The default `control_scale`."""
    mode: int | None = Field(default=None, ge=0)
    """A union ControlNet's number for this kind of control image, from its model card."""


class IpAdapterSpec(Strict):
    """An IP-Adapter, or FLUX.1 Redux, which follows a reference image."""

    source: Source
    """Its weights, with `subfolder` and `file`; of Redux the folder or repository, in diffusers layout."""
    image_encoder: Source | None = None
    """The folder of its CLIP vision model; None for Redux, which includes one."""
    scale: Scale = 0.6
    """The default `reference_scale`."""

    @property
    def is_redux(self) -> bool:
        return self.image_encoder is None


class TokenOptSpec(Strict):
    """Inpainting by `runners.token_opt.latent_optimiser`, without the denoiser."""

    clip: Source
    """The folder of a whole CLIP and its image processor; it must share the model's tokenizer."""
    iterations: int = Field(default=150, ge=1)
    """The default `iterations`."""
    max_iterations: int = Field(default=600, ge=1)


class PreviewSpec(Strict):
    """A linear map from one latent (C values) to one RGB pixel in [-1, 1]: `latent @ weight + bias`."""

    weight: tuple[tuple[float, float, float], ...]
    """(C, 3)"""
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
