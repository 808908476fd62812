"""What an entry trades for memory or speed: offloading, slicing, quantization, attention, compiling."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from core.errors import LoadFailed
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory, Quantization
from models.weights.compiling.denoisers import compile_denoisers, denoisers


def quantization_options(memory: Memory, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Return what `from_pretrained` needs to quantize the weights of a pipeline's folder as it reads them.

    Raises LoadFailed when a package is not installed or a component is not there.
    """
    quantization = memory.quantization
    if quantization is None:
        return {}
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if missing := [name for name in quantization.components if name not in index]:
        raise LoadFailed(f"memory.quantization.components: the pipeline has no {', '.join(missing)}")
    configs = {name: _config(quantization, index[name][0], dtype) for name in quantization.components}
    return {"quantization_config": diffusers.PipelineQuantizationConfig(quant_mapping=configs)}


def _config(quantization: Quantization, library: str, dtype: torch.dtype) -> Any:
    package = transformers if library == "transformers" else diffusers
    if quantization.backend == "torchao":
        need_package("torchao")
        options = dict(quantization.options)
        scheme = getattr(importlib.import_module("torchao.quantization"), options.pop("quant_type"))
        return package.TorchAoConfig(scheme(**options))
    need_package("bitsandbytes")
    if quantization.backend == "bitsandbytes_8bit":
        return package.BitsAndBytesConfig(load_in_8bit=True, **quantization.options)
    options = {"bnb_4bit_compute_dtype": dtype, **quantization.options}
    return package.BitsAndBytesConfig(load_in_4bit=True, **options)


def need_package(name: str) -> None:
    """Raise LoadFailed unless a package of the extra `quantization` is installed."""
    if importlib.util.find_spec(name) is None:
        raise LoadFailed(f"{name} is not installed; pip install '.[quantization]' brings it")


def place(pipeline: DiffusionPipeline, memory: Memory, device: str) -> None:
    """Bring a pipeline's weights to a device, or prepare them to go there whenever they are called."""
    if memory.offload == "none" or device == "cpu":
        pipeline.to(device)
    elif memory.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def tune(pipeline: DiffusionPipeline, family: Family, memory: Memory, device: str) -> None:
    """Set up how the VAE works in pieces, and how the denoisers attend and are compiled."""
    if memory.vae_slicing:
        pipeline.vae.enable_slicing()
    if memory.vae_tiling:
        pipeline.vae.enable_tiling()
    if memory.attention is not None:
        for denoiser in denoisers(pipeline, family):
            _set_attention(denoiser, memory.attention)
    if memory.compile:
        compile_denoisers(pipeline, family, memory, device)


def _set_attention(denoiser: Any, backend: str) -> None:
    # diffusers also makes the last choice that of all models of the process which have made none.
    before = _AttentionBackendRegistry.get_active_backend()[0]
    try:
        denoiser.set_attention_backend(backend)
    except (ImportError, RuntimeError, ValueError) as error:
        raise LoadFailed(f"memory.attention: {backend} cannot be used here: {error}") from error
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def keep_offloaded(pipelines: Mapping[Any, DiffusionPipeline]) -> None:
    """Keep pipelines from moving all weights to main memory after each image, while others are being generated."""
    for pipeline in pipelines.values():
        pipeline.__dict__["maybe_free_model_hooks"] = _nothing


def _nothing() -> None:
    pass
