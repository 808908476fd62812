"""The tuning arguments that each pipeline takes, copied from the signatures so that diffusers is not needed here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.generation.request import GenerationRequest
from models.catalogue.families.base import Family

_SD = frozenset({"clip_skip", "eta"})
_STEPS = frozenset({"sigmas", "timesteps"})
_PROMPTS = frozenset({"prompt_2", "negative_prompt_2"})
_RESCALE = frozenset({"guidance_rescale"})
_LENGTH = frozenset({"max_sequence_length"})
_SD3 = frozenset({"clip_skip", "sigmas"}) | _LENGTH | _PROMPTS
# FLUX's pipelines also take a second negative prompt, for true guidance, which requests cannot ask for.
_FLUX = frozenset({"sigmas", "prompt_2"}) | _LENGTH
_ONE_ENCODER = frozenset({"sigmas"}) | _LENGTH
_WAN = frozenset({"guidance_scale_2"}) | _LENGTH
# These pipelines also take timesteps, but then refuse the sigmas that they pass along themselves.
_LTX = _LENGTH | _RESCALE
# LTX-2's pipelines also take a length, though their connectors have only one, and timesteps, as LTX's do.
_LTX_2 = _RESCALE | {"sigmas", "audio_guidance_scale", "stg_scale", "modality_scale"}

TAKES: Mapping[str, frozenset[str]] = {
    "StableDiffusionPipeline": _SD | _STEPS | _RESCALE,
    "StableDiffusionImg2ImgPipeline": _SD | _STEPS,
    "StableDiffusionInpaintPipeline": _SD | _STEPS,
    "StableDiffusionControlNetPipeline": _SD | _STEPS,
    "StableDiffusionControlNetImg2ImgPipeline": _SD,
    "StableDiffusionControlNetInpaintPipeline": _SD,
    "StableDiffusionXLPipeline": _SD | _STEPS | _PROMPTS | _RESCALE,
    "StableDiffusionXLImg2ImgPipeline": _SD | _STEPS | _PROMPTS | _RESCALE,
    "StableDiffusionXLInpaintPipeline": _SD | _STEPS | _PROMPTS | _RESCALE,
    "StableDiffusionXLControlNetPipeline": _SD | _STEPS | _PROMPTS,
    "StableDiffusionXLControlNetImg2ImgPipeline": _SD | _PROMPTS,
    "StableDiffusionXLControlNetInpaintPipeline": _SD | _PROMPTS | _RESCALE,
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3Img2ImgPipeline": _SD3,
    "StableDiffusion3InpaintPipeline": _SD3,
    "StableDiffusion3ControlNetPipeline": _SD3,
    "FluxPipeline": _FLUX,
    "FluxImg2ImgPipeline": _FLUX,
    "FluxInpaintPipeline": _FLUX,
    "FluxControlNetPipeline": _FLUX,
    "FluxControlNetImg2ImgPipeline": _FLUX,
    "FluxControlNetInpaintPipeline": _FLUX,
    "FluxFillPipeline": _FLUX,
    "FluxKontextPipeline": _FLUX,
    "FluxKontextInpaintPipeline": _FLUX,
    "Flux2Pipeline": _ONE_ENCODER,
    "Flux2KleinPipeline": _ONE_ENCODER,
    "Flux2KleinInpaintPipeline": _ONE_ENCODER,
    "ChromaPipeline": _ONE_ENCODER,
    "ChromaImg2ImgPipeline": _ONE_ENCODER,
    "ChromaInpaintPipeline": _ONE_ENCODER,
    "QwenImagePipeline": _ONE_ENCODER,
    "QwenImageImg2ImgPipeline": _ONE_ENCODER,
    "QwenImageInpaintPipeline": _ONE_ENCODER,
    "QwenImageControlNetPipeline": _ONE_ENCODER,
    "QwenImageEditPipeline": _ONE_ENCODER,
    "QwenImageEditInpaintPipeline": _ONE_ENCODER,
    "QwenImageEditPlusPipeline": _ONE_ENCODER,
    "QwenImageLayeredPipeline": _ONE_ENCODER,
    "QwenImage21Pipeline": frozenset({"sigmas"}),
    "ZImagePipeline": _ONE_ENCODER,
    "ZImageImg2ImgPipeline": _ONE_ENCODER,
    "ZImageInpaintPipeline": _ONE_ENCODER,
    "ZImageControlNetPipeline": _ONE_ENCODER,
    "GlmImagePipeline": _STEPS | _LENGTH,
    "HiDreamImagePipeline": _ONE_ENCODER | _PROMPTS,
    # Flow-matching samplers with their own timesteps ignore others.
    "SanaPipeline": frozenset({"eta", "sigmas"}) | _LENGTH,
    "SanaSprintPipeline": frozenset({"eta"}) | _LENGTH,
    "SanaSprintImg2ImgPipeline": frozenset({"eta"}) | _LENGTH,
    "WanPipeline": _WAN,
    "WanImageToVideoPipeline": _WAN,
    "WanVACEPipeline": _WAN,
    "WanAnimatePipeline": _LENGTH,
    "LTXPipeline": _LTX,
    "LTXImageToVideoPipeline": _LTX,
    "LTXConditionPipeline": _LTX | {"timesteps"},
    "LTX2Pipeline": _LTX_2,
    "LTX2ImageToVideoPipeline": _LTX_2,
    "HunyuanVideo15Pipeline": frozenset({"sigmas"}),
    "Kandinsky5T2VPipeline": _LENGTH,
}
ARGUMENTS: frozenset[str] = frozenset().union(*TAKES.values())
"""Every argument that any pipeline takes."""


def taken_by(family: Family, pipeline: str) -> frozenset[str]:
    """Return the arguments that one of a family's pipelines takes."""
    own = family.inputs.get(pipeline)
    return TAKES.get(pipeline, frozenset()) if own is None else own & ARGUMENTS


def tuning_arguments(family: Family, request: GenerationRequest) -> dict[str, Any]:
    """Return the pipeline's arguments for what a request tunes; the shift is not one, but set in the sampler."""
    tuned = {name: value for name, value in request.tuned.items() if name in ARGUMENTS}
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in tuned.items()}
    if "sigmas" in given and family.schedulers[request.scheduler].class_name == "EulerDiscreteScheduler":
        # This class alone needs the noise level after the last step, which is 0.
        given["sigmas"].append(0.0)
    if "negative_prompt_2" in given:
        # SDXL uses the second only if there is a first.
        given["negative_prompt"] = request.negative_prompt
    return given
