"""FLUX.1: schnell and dev; Fill and Kontext are families of their own, with pipelines of their own."""

from __future__ import annotations

from typing import Any

from models.families.base import Family, Part, Stage, packed_latents, standard_arguments
from models.families.stable_diffusion import VAE
from models.request import GenerationRequest, Task
from models.schedulers import FLOW

PARTS = (
    Part("text_encoder", Stage.ENCODE, memoised=True),
    Part("text_encoder_2", Stage.ENCODE, memoised=True),
    *VAE,
    Part("transformer", Stage.DENOISE, shared=frozenset({"img_ids", "txt_ids"})),
)
SIZE_MULTIPLE_PX = 16


def _arguments(request: GenerationRequest) -> dict[str, Any]:
    """Guidance is distilled into the model: a negative prompt would have no effect."""
    arguments = standard_arguments(request)
    del arguments["negative_prompt"]
    return arguments


FLUX = Family(
    name="flux",
    pipelines={
        Task.TEXT_TO_IMAGE: "FluxPipeline",
        Task.IMAGE_TO_IMAGE: "FluxImg2ImgPipeline",
        Task.INPAINT: "FluxInpaintPipeline",
    },
    parts=PARTS,
    schedulers=FLOW,
    size_multiple_px=SIZE_MULTIPLE_PX,
    arguments=_arguments,
    preview_latents=packed_latents(vae_factor=8),
    negative_prompt=False,
)
