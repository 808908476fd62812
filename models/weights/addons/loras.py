"""LoRA files: fetching and checking them, injecting them into a pipeline's modules, and fusing those that are part of
a model. Which requests use which is decided in `runners.engine.loras.sets`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.peft_utils import delete_adapter_layers
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError, safe_open

from core.errors import LoadFailed, LoadInterrupted
from models.catalogue.addons import LoraSpec
from models.weights.addons.lora_layouts import counted_layers, own_weights, unread_kind
from models.weights.build_lock import build_lock
from models.weights.fetching import local_path

log = logging.getLogger("jubako.loading")

MISFIT = "it was not made for this model, or the file is damaged"


def lora_file(name: str, spec: LoraSpec) -> Path:
    """Return the safetensors file of a LoRA, fetching it when it is not on this machine.

    Blocks, maybe for a download; usable on any thread. Raises LoadFailed, which names the LoRA.
    """
    try:
        file = _only_file(local_path(spec.source))
        with safe_open(file, "pt") as tensors:
            tensors.keys()
    except LoadFailed as error:
        raise _failed(name, str(error)) from error
    except LoadInterrupted as error:
        raise LoadInterrupted(f"the LoRA {name!r} cannot be loaded: {error}", error.retry_after_s) from error
    except SafetensorError as error:
        raise _failed(name, "the file is damaged, or not in safetensors; get it again") from error
    return file


def _only_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = list(path.glob("*.safetensors"))
    if len(files) != 1:
        raise LoadFailed(f"{len(files)} safetensors files are there; name one in the catalogue")
    return files[0]


def _failed(name: str, reason: str) -> LoadFailed:
    return LoadFailed(f"the LoRA {name!r} cannot be loaded: {reason}")


def lora_modules(pipeline: DiffusionPipeline) -> dict[str, Any]:
    """The modules that LoRAs of this pipeline may change, by component: denoisers and some of the text encoders."""
    components = {name: getattr(pipeline, name, None) for name in pipeline._lora_loadable_modules}
    return {name: module for name, module in components.items() if module is not None}


def peft_layers(module: torch.nn.Module) -> Iterator[BaseTunerLayer]:
    """The layers of a module that some adapter was injected into."""
    return (layer for layer in module.modules() if isinstance(layer, BaseTunerLayer))


def holds(layer: BaseTunerLayer, adapter: str) -> bool:
    """Whether this adapter changes this layer."""
    return any(adapter in getattr(layer, kind) for kind in layer.adapter_layer_names)


def inject(pipeline: DiffusionPipeline, name: str, file: Path, adapter: str) -> None:
    """Add the LoRA `name` to the pipeline's modules as a peft adapter that does not act; no other acts afterwards.

    Raises LoadFailed when it was not made for this model, or only a part of it fits, and torch.OutOfMemoryError; it is
    then not in the modules.
    """
    dtypes = {component: module.dtype for component, module in lora_modules(pipeline).items()}
    try:
        with build_lock, counted_layers(pipeline) as layers_of_file:
            _load(pipeline, file, adapter)
        fitting = _check_and_cast(pipeline, adapter, dtypes)
    except torch.OutOfMemoryError:
        eject(pipeline, adapter)
        raise
    except Exception as error:
        log.exception("the LoRA %s cannot be injected", name)
        eject(pipeline, adapter)
        kind = unread_kind(file)
        reason = f"it is {kind}, a kind of file that is not read" if kind else MISFIT
        raise _failed(name, reason) from error
    if fitting < layers_of_file():
        eject(pipeline, adapter)
        raise _failed(name, f"only {fitting} of its {layers_of_file()} layers fit; it was not made for this model")
    # Diffusers has made it the one that acts.
    for module in lora_modules(pipeline).values():
        _deactivate(module)


def _load(pipeline: DiffusionPipeline, file: Path, adapter: str) -> None:
    if (weights := own_weights(file, lora_modules(pipeline))) is not None:
        pipeline.load_lora_weights(weights, adapter_name=adapter)
    else:
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=adapter, use_safetensors=True)


def _deactivate(module: torch.nn.Module) -> None:
    for layer in peft_layers(module):
        layer.set_adapter([])


def _check_and_cast(pipeline: DiffusionPipeline, adapter: str, dtypes: Mapping[str, torch.dtype]) -> int:
    """Return how many layers were changed. Diffusers ignores those that it does not know, and keeps the file's dtype.

    Raises ValueError if there are none.
    """
    fitting = 0
    for component, module in lora_modules(pipeline).items():
        for layer in peft_layers(module):
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
    """Take an adapter out again; without any other, the modules become what they were before the first."""
    left = False
    for module in lora_modules(pipeline).values():
        # peft would otherwise activate another one in its place, and warn.
        _deactivate(module)
        delete_adapter_layers(module, adapter)
        getattr(module, "peft_config", {}).pop(adapter, None)
        left = left or bool(getattr(module, "peft_config", None))
    if not left:
        pipeline.unload_lora_weights()


def fuse(pipeline: DiffusionPipeline, loras: Mapping[str, LoraSpec]) -> None:
    """Make those LoRAs that are always part of the model part of its weights.

    Blocks, maybe for downloads. Raises LoadFailed.
    """
    always = {name: spec for name, spec in loras.items() if spec.always}
    if not always:
        return
    adapters = {f"always{number}": spec.scale for number, spec in enumerate(always.values())}
    for adapter, (name, spec) in zip(adapters, always.items(), strict=True):
        inject(pipeline, name, lora_file(name, spec), adapter)
    pipeline.set_adapters(list(adapters), list(adapters.values()))
    pipeline.fuse_lora(components=list(lora_modules(pipeline)), adapter_names=list(adapters))
    pipeline.unload_lora_weights()
