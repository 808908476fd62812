"""The modules of the catalogue's models, built from their configurations on torch's meta device: shapes and no data."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
import transformers
import yaml
from diffusers.pipelines import flux, ltx2

from models.catalogue.entry import Entry

FILE = Path(__file__).parent / "architectures.yaml"


class Architectures(NamedTuple):
    components: dict[str, dict[str, Any]]
    models: dict[str, dict[str, str]]
    controlnets: dict[str, str]
    """By repository."""
    image_encoders: dict[str, str]
    """IP-Adapters' image encoders, by source."""
    redux: dict[str, list[str]]
    """Its components, by repository."""


@cache
def architectures() -> Architectures:
    return Architectures(**yaml.safe_load(FILE.read_text(encoding="utf-8")))


def built(name: str, dtype: torch.dtype) -> Any:
    """Build a component of the file."""
    config = dict(architectures().components[name])
    class_name = config.pop("class")
    # Some classes are defined only beside their family's pipelines.
    library = next((each for each in (diffusers, flux, ltx2) if hasattr(each, class_name)), None)
    with torch.device("meta"):
        if library is not None:
            module = getattr(library, class_name)(**config)
        else:
            module_class = getattr(transformers, class_name)
            module = module_class(module_class.config_class(**config))
    # Like `from_pretrained`, keep in float32 the modules that compute in it; transformers does so in float16 only.
    keeps = dtype is torch.float16 or library is not None
    kept = (getattr(module, "_keep_in_fp32_modules", None) or ()) if keeps else ()
    for name, parameter in module.named_parameters():
        precision = torch.float32 if any(part in name.split(".") for part in kept) else dtype
        parameter.data = parameter.data.to(precision)
    return module.to("meta").eval()


def dtype_of(entry: Entry, component: str) -> torch.dtype:
    """Return the precision that a component is loaded in on an accelerator."""
    config = architectures().components[architectures().models[entry.id][component]]
    upcast = entry.dtype == "float16" and config.get("force_upcast", False)
    if component in entry.family_spec.float32_components or (upcast and _casts_up(entry)):
        return torch.float32
    dtype: torch.dtype = getattr(torch, entry.dtype)
    return dtype


def _casts_up(entry: Entry) -> bool:
    """Whether loading casts the autoencoder to float32 (`models.weights.loading.upcast_vae`)."""
    pipeline = getattr(diffusers, next(iter(entry.family_spec.pipelines.values())))
    return hasattr(pipeline, "upcast_vae")


def weights_bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())
