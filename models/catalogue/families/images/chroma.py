"""Chroma: FLUX.1 schnell pruned and retrained, without distilled guidance and with a mask of its prompts."""

from __future__ import annotations

from core.generation.request import Task
from models.catalogue.families.base import CallStage, Family, Part, PromptWindow, TextTokens, Unguided, packed_latents
from models.catalogue.families.images.stable_diffusion import VAE
from models.catalogue.families.samplers import FLOW

CHROMA = Family(
    name="chroma",
    pipelines={
        Task.TEXT_TO_IMAGE: "ChromaPipeline",
        Task.IMAGE_TO_IMAGE: "ChromaImg2ImgPipeline",
        Task.INPAINT: "ChromaInpaintPipeline",
    },
    bases=("lodestones/Chroma1-HD",),
    parts=(
        Part("text_encoder", CallStage.ENCODE, memoised=True),
        *VAE,
        # As in FLUX, positions have no batch axis.
        Part("transformer", CallStage.DENOISE, shared=frozenset({"img_ids", "txt_ids"})),
    ),
    schedulers=FLOW,
    size_multiple_px=16,
    preview_latents=packed_latents(vae_factor=8),
    prompt_windows=(PromptWindow(tokens=511),),
    text_tokens=TextTokens(512, 512),
    masks=True,
    unguided=Unguided.SECOND_CALL,
)
