"""Weights in fewer bits, by diffusers' own quantizers."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from core.errors import LoadFailed
from models.catalogue.memory.options import Memory, Quantization


def quantization_options(memory: Memory, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Return what `from_pretrained` needs to quantize the weights of a pipeline's folder as it reads them.

    Raises LoadFailed if a package is not installed or a component does not exist.
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
    if quantization.backend == "quanto":
        need_package("optimum.quanto", "optimum-quanto")
        # The same argument has another name in diffusers.
        options = {"weights": "int8", **quantization.options}
        return package.QuantoConfig(**options) if package is transformers else _quanto_of_diffusers(**options)
    need_package("bitsandbytes")
    if quantization.backend == "bitsandbytes_8bit":
        return package.BitsAndBytesConfig(load_in_8bit=True, **quantization.options)
    options = {"bnb_4bit_compute_dtype": dtype, **quantization.options}
    return package.BitsAndBytesConfig(load_in_4bit=True, **options)


def _quanto_of_diffusers(weights: str, **options: Any) -> Any:
    return diffusers.QuantoConfig(weights_dtype=weights, **options)


def need_package(module: str, package: str | None = None) -> None:
    """Raise LoadFailed unless a package of the extra `quantization` is installed."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise LoadFailed(f"{package or module} is not installed; pip install '.[quantization]' brings it")
