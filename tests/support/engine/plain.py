"""Plain pipelines with ControlNets, IP-Adapters and Redux, put together as the documentation of diffusers says."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, FluxPriorReduxPipeline, ModelMixin
from transformers import CLIPVisionModelWithProjection

from core.generation.request import GenerationRequest
from models.catalogue.addons import IpAdapterSpec
from models.weights.loading import LoadedModel


def plain_pipeline(model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    """Return the pipeline that draws the request; one of its own when a condition changes any module."""
    pipeline = model.pipelines[wanted.task]
    if wanted.control_type is not None:
        pipeline = _controlled(pipeline, model, wanted)
    if wanted.reference_image is not None and not _has_redux(model):
        assert model.ip_adapter is not None
        pipeline = _adapted(pipeline, model.family.denoiser, model.ip_adapter)
        pipeline.set_ip_adapter_scale(wanted.reference_scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def with_plain_redux(
    pipeline: DiffusionPipeline, model: LoadedModel, wanted: GenerationRequest, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments, with what Redux' own pipeline makes of prompt and reference where the model has Redux."""
    if wanted.reference_image is None or not _has_redux(model):
        return arguments
    assert model.ip_adapter is not None
    prior = FluxPriorReduxPipeline.from_pretrained(
        model.ip_adapter.source.path,
        **{name: getattr(pipeline, name) for name in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")},
    )
    prompt = {"prompt": arguments.pop("prompt")}
    if (most := arguments.pop("max_sequence_length", None)) is not None:
        # The prior reads 512 tokens, whatever the model was made for.
        states, pooled, _ = pipeline.encode_prompt(**prompt, prompt_2=None, max_sequence_length=most)
        prompt = {"prompt_embeds": states, "pooled_prompt_embeds": pooled}
    encoded = prior(arguments.pop("ip_adapter_image"), **prompt)
    patches = prior.image_encoder.embeddings.num_patches
    encoded.prompt_embeds[:, -patches:] *= wanted.reference_scale
    return {**arguments, **encoded}


def _has_redux(model: LoadedModel) -> bool:
    return model.ip_adapter is not None and model.ip_adapter.is_redux


def _controlled(pipeline: DiffusionPipeline, model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    assert wanted.control_type is not None
    net = _controlnet(model.family.controlnet, model.controlnets[wanted.control_type].source.path)
    pipeline_class = getattr(diffusers, model.family.controlled[wanted.task])
    return pipeline_class.from_pipe(pipeline, controlnet=net)


@lru_cache(maxsize=4)
def _controlnet(net_class: str, folder: Path | None) -> ModelMixin:
    net: ModelMixin = getattr(diffusers, net_class).from_pretrained(folder)
    return net


def _adapted(pipeline: DiffusionPipeline, denoiser: str, adapter: IpAdapterSpec) -> DiffusionPipeline:
    assert adapter.image_encoder is not None
    encoder = _image_encoder(adapter.image_encoder.path, adapter.image_encoder.subfolder or "")
    # Of what the denoiser is now: some tests give it LoRAs.
    changed = {denoiser: copy.deepcopy(getattr(pipeline, denoiser)), "image_encoder": encoder}
    own = type(pipeline).from_pipe(pipeline, **changed)
    own.load_ip_adapter(adapter.source.path, subfolder="", weight_name=adapter.source.file)
    return own


@lru_cache(maxsize=2)
def _image_encoder(folder: Path | None, subfolder: str) -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection.from_pretrained(folder, subfolder=subfolder, dtype=torch.float32)
