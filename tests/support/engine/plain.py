"""Plain pipelines with ControlNets and IP-Adapters, put together as the documentation of diffusers says."""

from __future__ import annotations

import copy

import diffusers
import torch
from diffusers import DiffusionPipeline
from transformers import CLIPVisionModelWithProjection

from core.generation.request import GenerationRequest
from models.catalogue.addons import IpAdapterSpec
from models.weights.loading import LoadedModel


def plain_pipeline(model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    """Return the pipeline that draws the request; one of its own when a condition changes any module."""
    pipeline = model.pipelines[wanted.task]
    if wanted.control_type is not None:
        pipeline = _controlled(pipeline, model, wanted)
    if wanted.reference_image is not None:
        assert model.ip_adapter is not None
        pipeline = _adapted(pipeline, model.family.denoiser, model.ip_adapter)
        pipeline.set_ip_adapter_scale(wanted.reference_scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _controlled(pipeline: DiffusionPipeline, model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    assert wanted.control_type is not None
    net_class = getattr(diffusers, model.family.controlnet)
    net = net_class.from_pretrained(model.controlnets[wanted.control_type].source.path)
    pipeline_class = getattr(diffusers, model.family.controlled[wanted.task])
    return pipeline_class.from_pipe(pipeline, controlnet=net)


def _adapted(pipeline: DiffusionPipeline, denoiser: str, adapter: IpAdapterSpec) -> DiffusionPipeline:
    encoder = CLIPVisionModelWithProjection.from_pretrained(
        adapter.image_encoder.path, subfolder=adapter.image_encoder.subfolder or "", dtype=torch.float32
    )
    changed = {denoiser: copy.deepcopy(getattr(pipeline, denoiser)), "image_encoder": encoder}
    own = type(pipeline).from_pipe(pipeline, **changed)
    own.load_ip_adapter(adapter.source.path, subfolder="", weight_name=adapter.source.file)
    return own
