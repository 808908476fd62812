"""Plain pipelines with ControlNets and IP-Adapters, put together as the documentation of diffusers says."""

from __future__ import annotations

import copy

import diffusers
from diffusers import ControlNetModel, DiffusionPipeline

from models.entries import IpAdapterSpec
from models.loading import LoadedModel
from models.request import GenerationRequest


def plain_pipeline(model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    """Return the pipeline that draws the request; one of its own when a condition changes any module."""
    pipeline = model.pipelines[wanted.task]
    if wanted.control_type is not None:
        pipeline = _controlled(pipeline, model, wanted)
    if wanted.reference_image is not None:
        assert model.ip_adapter is not None
        pipeline = _adapted(pipeline, model.ip_adapter)
        pipeline.set_ip_adapter_scale(wanted.reference_scale)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _controlled(pipeline: DiffusionPipeline, model: LoadedModel, wanted: GenerationRequest) -> DiffusionPipeline:
    assert wanted.control_type is not None
    net = ControlNetModel.from_pretrained(model.controlnets[wanted.control_type].source.path)
    pipeline_class = getattr(diffusers, model.family.controlled[wanted.task])
    return pipeline_class.from_pipe(pipeline, controlnet=net)


def _adapted(pipeline: DiffusionPipeline, adapter: IpAdapterSpec) -> DiffusionPipeline:
    own = type(pipeline).from_pipe(pipeline, unet=copy.deepcopy(pipeline.unet))
    own.load_ip_adapter(
        adapter.source.path,
        subfolder="",
        weight_name=adapter.source.file,
        image_encoder_folder=adapter.image_encoder.subfolder,
    )
    return own
