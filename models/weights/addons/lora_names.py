"""Maps the names in a LoRA file, whatever program wrote it, to the layers of a pipeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from diffusers.utils.state_dict_utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)

from models.weights.addons.layer_changes import OutputRows
from models.weights.files import flux_modules, sd3_modules

DENOISER_PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "base_model.model.",
    "transformer.",
    "unet.",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
)
TEXT_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "text_encoder": ("lora_te1_", "lora_te_", "text_encoder.", "text_encoders.clip_l.transformer."),
    "text_encoder_2": ("lora_te2_", "text_encoder_2.", "text_encoders.clip_g.transformer."),
    "text_encoder_3": ("lora_te3_", "text_encoder_3.", "text_encoders.t5xxl.transformer."),
}
"""By component; FLUX's second text encoder is a T5."""
T5_PREFIXES = TEXT_PREFIXES["text_encoder_3"]


@dataclass(frozen=True)
class LoraTarget:
    """A layer of the pipeline, and the outputs of the file's layer that belong to it."""

    component: str
    path: str
    rows: OutputRows = field(default_factory=lambda: slice(None))


def find_targets(
    outputs: Mapping[str, int], pipeline: DiffusionPipeline, modules: Mapping[str, Any], denoiser: str
) -> dict[str, list[LoraTarget]]:
    """Return the layers that each name means, given the names' numbers of outputs; an empty list for unknown names."""
    known = {component: _layers(module) for component, module in modules.items()}
    originals = _originals(modules[denoiser])
    found = {name: _target(name, count, known, denoiser, modules, originals) for name, count in outputs.items()}
    unknown = [name for name, targets in found.items() if not targets]
    if unknown and not originals:
        found |= _by_diffusers({name: outputs[name] for name in unknown}, pipeline, modules, known)
    return found


def _layers(module: Any) -> dict[str, str]:
    """Return the paths of a module's layers, each by itself and by the names that trainers give it."""
    paths = [path.replace(".base_layer", "") for path, layer in module.named_modules() if hasattr(layer, "weight")]
    prefixed = {f"text_model.{path}": path for path in paths}
    named = {path: path for path in paths} | (prefixed if "embeddings.token_embedding" in paths else {})
    return named | {name.replace(".", "_"): path for name, path in named.items()}


def _originals(denoiser: Any) -> dict[str, tuple[str, ...]]:
    """Return a denoiser's layers by their original names, if one original layer is several in diffusers."""
    config = denoiser.config
    if isinstance(denoiser, diffusers.FluxTransformer2DModel):
        named = flux_modules.original_modules(config.num_layers, config.num_single_layers)
    elif isinstance(denoiser, diffusers.SD3Transformer2DModel):
        named = sd3_modules.original_modules(config.num_layers)
    else:
        return {}
    return named | {name.replace(".", "_"): parts for name, parts in named.items()}


def _target(
    name: str,
    count: int,
    known: Mapping[str, Mapping[str, str]],
    denoiser: str,
    modules: Mapping[str, Any],
    originals: Mapping[str, tuple[str, ...]],
) -> list[LoraTarget]:
    for component, layers in known.items():
        for prefix in _prefixes(component, denoiser, modules[component]):
            rest = name.removeprefix(prefix)
            if rest == name:
                continue
            if rest in layers:
                return [LoraTarget(component, layers[rest])]
            if component == denoiser and rest in originals:
                return _original(component, originals[rest], count, modules[component])
    return []


def _prefixes(component: str, denoiser: str, module: Any) -> tuple[str, ...]:
    if component == denoiser:
        return DENOISER_PREFIXES
    is_second_t5 = component == "text_encoder_2" and "T5" in type(module).__name__
    return (*TEXT_PREFIXES.get(component, ()), *(T5_PREFIXES if is_second_t5 else ()))


def _original(component: str, parts: tuple[str, ...], count: int, module: Any) -> list[LoraTarget]:
    blocks = module.config.num_layers
    if len(parts) == 1:
        sd3 = isinstance(module, diffusers.SD3Transformer2DModel)
        swapped = sd3_modules.is_shift_first(parts[0], blocks) if sd3 else parts[0] == flux_modules.SHIFT_FIRST
        halves = [*range(count // 2, count), *range(count // 2)]
        return [LoraTarget(component, parts[0], halves if swapped else slice(None))]
    width = module.inner_dim
    starts = [width * number for number in range(len(parts))]
    ends = [*starts[1:], count]
    return [
        LoraTarget(component, part, slice(start, end)) for part, start, end in zip(parts, starts, ends, strict=True)
    ]


def _by_diffusers(
    outputs: Mapping[str, int],
    pipeline: DiffusionPipeline,
    modules: Mapping[str, Any],
    known: Mapping[str, Mapping[str, str]],
) -> dict[str, list[LoraTarget]]:
    """Run diffusers' converters on a fake LoRA with these names, whose values show which layer became which."""
    probe: dict[str, torch.Tensor] = {}
    for number, (name, count) in enumerate(outputs.items()):
        probe[f"{name}.lora_down.weight"] = torch.full((1, 1), float(number))
        probe[f"{name}.lora_up.weight"] = torch.arange(float(count))[:, None]
    unet = modules.get("unet")
    options = {"unet_config": unet.config} if unet is not None else {}
    try:
        converted: Any = pipeline.lora_state_dict(probe, **options)
    except (ValueError, KeyError, IndexError, AttributeError):
        # What converters raise for names that they do not know.
        return {}
    weights = converted[0] if isinstance(converted, tuple) else converted
    names, found = list(outputs), defaultdict(list)
    for component, layers in known.items():
        for path, down, up in _pairs(_own(weights, component)):
            if path in layers:
                rows = slice(int(up[0]), int(up[-1]) + 1)
                found[names[round(float(down))]].append(LoraTarget(component, layers[path], rows))
    return dict(found)


def _own(weights: Mapping[str, torch.Tensor], component: str) -> dict[str, torch.Tensor]:
    own = {n.removeprefix(f"{component}."): w for n, w in weights.items() if n.startswith(f"{component}.")}
    if not own or any(".lora_A." in name for name in own):
        return own
    if component.startswith("text_encoder"):
        peft: dict[str, torch.Tensor] = convert_state_dict_to_peft(convert_state_dict_to_diffusers(own))
    else:
        peft = convert_unet_state_dict_to_peft(own)
    return peft


def _pairs(weights: Mapping[str, torch.Tensor]) -> Iterable[tuple[str, torch.Tensor, torch.Tensor]]:
    for name, down in weights.items():
        path, _, rest = name.partition(".lora_A.")
        if rest:
            yield path, down, weights[f"{path}.lora_B.{rest}"]
