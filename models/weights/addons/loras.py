"""LoRA files: fetching, checking, injecting into a pipeline's modules, and fusing those that are part of a model.
Which requests use which is decided in `runners.engine.loras.sets`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.peft_utils import delete_adapter_layers, recurse_remove_peft_layers
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer

from core.errors import LoadFailed
from models.catalogue.added.lora_kinds import unread_kind
from models.catalogue.addons import LoraSpec
from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.families.videos.wan import LOW_NOISE_TRANSFORMER
from models.weights.addons.layer_changes import LayerChange
from models.weights.addons.lora_layouts import counted_layers, names_in, own_weights
from models.weights.addons.own_layouts import inject_own, is_own
from models.weights.addons.peft_files import DENOISERS
from models.weights.build_lock import build_lock
from models.weights.fetching.explanations import named
from models.weights.fetching.fetch import local_path, only_file
from models.weights.memory.casting import kept_stored
from models.weights.memory.offloading import is_grouped, regroup

log = logging.getLogger("jubako.loading")

MISFIT = "it was not made for this model"


def lora_file(name: str, spec: LoraSpec) -> Path:
    """Return the safetensors file of a LoRA, fetching it if it is not on this machine.

    Blocks, maybe for a download; usable on any thread. Raises LoadFailed, naming the LoRA.
    """
    with named(f"the LoRA {name!r}"):
        file = only_file(local_path(spec.source))
        # Reading the header shows whether the file is complete.
        names_in(file)
    return file


def lora_modules(pipeline: DiffusionPipeline) -> dict[str, Any]:
    """Return the modules that LoRAs of this pipeline may change, by component: denoisers and text encoders.

    These include text encoders for which diffusers itself loads no LoRAs.
    """
    names = dict.fromkeys((*getattr(pipeline, "_lora_loadable_modules", ()), *TEXT_ENCODERS))
    components = {name: getattr(pipeline, name, None) for name in names}
    return {name: module for name, module in components.items() if module is not None}


def peft_layers(module: torch.nn.Module) -> Iterator[BaseTunerLayer]:
    """Yield the layers of a module that any adapter was injected into."""
    return (layer for layer in module.modules() if isinstance(layer, BaseTunerLayer))


def holds(layer: BaseTunerLayer, adapter: str) -> bool:
    """Whether the adapter changes the layer."""
    return any(adapter in getattr(layer, kind) for kind in layer.adapter_layer_names)


def inject(pipeline: DiffusionPipeline, name: str, file: Path, adapter: str, component: str | None = None) -> None:
    """Add the LoRA `name` to the pipeline's modules as a peft adapter; afterwards no adapter is active.

    `component` is the denoiser that it is for, if a model has several. Raises LoadFailed if the LoRA is of an
    unsupported kind, was made for another model, or fits only in part, and torch.OutOfMemoryError; the modules are then
    left without it.
    """
    with named(f"the LoRA {name!r}"):
        if (kind := unread_kind(names_in(file))) is not None:
            raise LoadFailed(f"it is {kind}")
        try:
            with build_lock, kept_stored(lora_modules(pipeline).values()):
                _read(pipeline, file, adapter, component)
        except (torch.OutOfMemoryError, LoadFailed):
            eject(pipeline, adapter)
            raise
        except Exception as error:
            log.exception("the LoRA %s cannot be injected", name)
            eject(pipeline, adapter)
            raise LoadFailed(MISFIT) from error
    # Diffusers has made it the active one.
    for module in lora_modules(pipeline).values():
        _deactivate(module)


def _read(pipeline: DiffusionPipeline, file: Path, adapter: str, component: str | None) -> None:
    modules = lora_modules(pipeline)
    denoiser = component or next(each for each in DENOISERS if each in modules)
    if denoiser not in modules:
        raise LoadFailed(f"it is for {denoiser}, which this model does not have")
    dtypes = {each: module.dtype for each, module in modules.items()}
    if is_own(names_in(file), denoiser):
        own = {each: module for each, module in modules.items() if each == denoiser or each in TEXT_ENCODERS}
        inject_own(pipeline, file, adapter, own, denoiser)
        for module in own.values():
            regroup(module)
        _check_and_cast(pipeline, adapter, dtypes)
        return
    with counted_layers(pipeline) as layers_of_file:
        _load(pipeline, file, adapter, denoiser)
    fitting = _check_and_cast(pipeline, adapter, dtypes)
    if fitting < layers_of_file():
        raise LoadFailed(f"only {fitting} of its {layers_of_file()} layers fit; {MISFIT}")


def _load(pipeline: DiffusionPipeline, file: Path, adapter: str, denoiser: str) -> None:
    options: dict[str, Any] = {"adapter_name": adapter}
    if denoiser == LOW_NOISE_TRANSFORMER.component:
        options["load_into_transformer_2"] = True
    if (weights := own_weights(file, lora_modules(pipeline))) is not None:
        pipeline.load_lora_weights(weights, **options)
    else:
        pipeline.load_lora_weights(file.parent, weight_name=file.name, use_safetensors=True, **options)


def _deactivate(module: torch.nn.Module) -> None:
    for layer in peft_layers(module):
        layer.set_adapter([])


def _check_and_cast(pipeline: DiffusionPipeline, adapter: str, dtypes: Mapping[str, torch.dtype]) -> int:
    """Cast the adapter's weights, which diffusers leaves in the file's dtype, and return how many layers it changes.

    Raises ValueError if there are none, LoadFailed for a DoRA in layers that are offloaded one by one.
    """
    fitting = 0
    for component, module in lora_modules(pipeline).items():
        for layer in peft_layers(module):
            if adapter in getattr(layer, "lora_variant", ()) and is_grouped(layer.get_base_layer()):
                # A DoRA reads the layer's weight besides calling the layer.
                raise LoadFailed(f"it is a DoRA, and memory.offload keeps each layer of {component} in main memory")
            weights = [(path, weight) for path, weight in layer.named_parameters() if adapter in path.split(".")]
            for path, weight in weights:
                if weight.is_meta:
                    raise ValueError(f"{path} has no weights in the file")
                weight.data = weight.data.to(dtypes[component])
            fitting += bool(weights)
    if not fitting:
        raise ValueError("no layer of the file is one of this model")
    return fitting


def eject(pipeline: DiffusionPipeline, adapter: str) -> None:
    """Remove an adapter; with the last one, the modules return to their original state."""
    left = False
    for module in lora_modules(pipeline).values():
        # Otherwise peft would activate another adapter in its place, and warn.
        _deactivate(module)
        delete_adapter_layers(module, adapter)
        getattr(module, "peft_config", {}).pop(adapter, None)
        left = left or bool(getattr(module, "peft_config", None))
    if not left:
        _unwrap(pipeline)
    for module in lora_modules(pipeline).values():
        regroup(module)


def _unwrap(pipeline: DiffusionPipeline) -> None:
    """Replace peft's layers in the modules by the original ones."""
    pipeline.unload_lora_weights()
    for name, module in lora_modules(pipeline).items():
        if name not in pipeline._lora_loadable_modules and any(True for _ in peft_layers(module)):
            recurse_remove_peft_layers(module)


def fuse(pipeline: DiffusionPipeline, loras: Mapping[str, LoraSpec]) -> None:
    """Fuse the LoRAs that have `always` into the model's weights.

    Blocks, maybe for downloads. Raises LoadFailed.
    """
    always = {name: spec for name, spec in loras.items() if spec.always}
    scales = {f"always{number}": spec.scale for number, spec in enumerate(always.values())}
    for adapter, (name, spec) in zip(scales, always.items(), strict=True):
        inject(pipeline, name, lora_file(name, spec), adapter, spec.component)
    # All are injected before any is fused: injecting another one would make peft undo the fusing.
    for module in lora_modules(pipeline).values():
        for layer in list(peft_layers(module)):
            for adapter, scale in scales.items():
                if holds(layer, adapter):
                    _fuse_layer(layer, adapter, scale)
    if always:
        _unwrap(pipeline)


def _fuse_layer(layer: Any, adapter: str, scale: float) -> None:
    first = layer.lora_A[adapter] if isinstance(layer, LoraLayer) and adapter in layer.lora_A else None
    if not isinstance(first, LayerChange):
        layer.set_scale(adapter, scale)
        layer.merge(adapter_names=[adapter])
        return
    base = layer.get_base_layer()
    base.weight.data += (scale * first.delta()).to(base.weight.dtype)
    if first.bias is not None:
        bias = torch.zeros_like(first.bias) if base.bias is None else base.bias.data
        base.bias = torch.nn.Parameter((bias + scale * first.bias).to(base.weight.dtype), requires_grad=False)
