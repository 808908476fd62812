"""Families: which diffusers pipelines draw which task, and which of their modules share batches.

A family is a declaration, not a subclass. The engine reads it; nothing here imports torch or diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from models.request import Task


class Stage(IntEnum):
    """When a call happens in the life of a picture. Encoding and decoding are single short calls that
    let a request join or leave, so they never wait behind the denoising of others.
    """

    ENCODE = 0
    DECODE = 1
    DENOISE = 2


@dataclass(frozen=True)
class Part:
    """One method of one pipeline component whose calls are batched across requests.

    Tensor arguments are concatenated along their first axis, everything else must be equal to be shared.
    """

    component: str
    """The pipeline's attribute, such as `unet`."""
    stage: Stage
    method: str = "forward"
    follows_shape: frozenset[str] = frozenset()
    """Tensor arguments without a batch axis whose values follow from their shape (FLUX `img_ids`)."""
    ignored: frozenset[str] = frozenset()
    """Arguments that the method accepts and does not use."""
    memoised: bool = False
    """Whether equal inputs may share one result (text encoders)."""
    casts: bool = False
    """Whether floating inputs are cast to the module's dtype: a VAE may need a wider one than the denoiser."""
    pixels_per_token: int = 1
    """Input positions that count as one latent token of the batch budget."""


@dataclass(frozen=True)
class Family:
    name: str
    pipelines: Mapping[Task, str]
    """The diffusers class that draws each task."""
    parts: tuple[Part, ...]
    size_multiple_px: int
    """Width and height must be multiples of this: VAE factor times the denoiser's own downsampling."""


_VAE = (
    Part("vae", Stage.ENCODE, "encode", casts=True, pixels_per_token=64),
    Part("vae", Stage.DECODE, "decode", casts=True, ignored=frozenset({"generator"})),
)
_UNET = Part("unet", Stage.DENOISE)

STABLE_DIFFUSION = Family(
    name="stable-diffusion",
    pipelines={
        Task.TEXT_TO_IMAGE: "StableDiffusionPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionInpaintPipeline",
    },
    parts=(Part("text_encoder", Stage.ENCODE, memoised=True), *_VAE, _UNET),
    size_multiple_px=8,
)

STABLE_DIFFUSION_XL = Family(
    name="stable-diffusion-xl",
    pipelines={
        Task.TEXT_TO_IMAGE: "StableDiffusionXLPipeline",
        Task.IMAGE_TO_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        Task.INPAINT: "StableDiffusionXLInpaintPipeline",
    },
    parts=(
        Part("text_encoder", Stage.ENCODE, memoised=True),
        Part("text_encoder_2", Stage.ENCODE, memoised=True),
        *_VAE,
        _UNET,
    ),
    size_multiple_px=8,
)

FAMILIES: Mapping[str, Family] = {f.name: f for f in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL)}
