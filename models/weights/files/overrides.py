"""Components that an entry replaces in its checkpoint: VAE and text encoders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import load_single_file_checkpoint as read_checkpoint

from core.errors import LoadFailed
from models.catalogue.families import TEXT_ENCODERS, tokenizer_of
from models.catalogue.sources import Source
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path, refuse_pickles
from models.weights.files.components import model_from_tensors, pipeline_parts, refuse_misfits
from models.weights.files.contents import VAE
from models.weights.files.side_tensors import refuse_side_tensors, unscaled

TEXT_PREFIXES = (
    "cond_stage_model.transformer.",
    "text_encoders.clip_l.transformer.",
    "text_encoders.clip_g.transformer.",
    "text_encoders.t5xxl.transformer.",
    "text_model.",
)
UNUSED = ("logit_scale", "text_projection", "lm_head", "spiece_model", "vision_model", "visual", "decoder.")
"""Tensors in text encoders' files that are not needed: CLIP's projections, language heads, tokenizers, vision parts."""


@dataclass(frozen=True)
class Override:
    """Where a component comes from: the source that the operator named, and its local folder or file."""

    source: Source
    path: Path


def fetch_overrides(sources: Mapping[str, Source], *, allow_pickle: bool) -> dict[str, Override]:
    """Return what each component comes from, fetching it where needed. Raises LoadFailed, or LoadInterrupted."""
    overrides = {name: Override(source, local_path(source)) for name, source in sources.items()}
    if not allow_pickle:
        for override in overrides.values():
            refuse_pickles(override.path)
    return overrides


def read_overrides(
    overrides: Mapping[str, Override], folder: Path, dtypes: Mapping[str, torch.dtype]
) -> dict[str, Any]:
    """Return the components that replace those of the pipeline in `folder`, and tokenizers that the pipeline lacks.

    The tokenizers are read from the components' own folders. Raises LoadFailed with what to do.
    """
    parts = pipeline_parts(folder)
    if unknown := [name for name in overrides if name not in parts]:
        raise LoadFailed(f"{unknown[0]}: the pipeline has none; it has {', '.join(parts)}")
    found = {}
    for name, override in overrides.items():
        with explained(override.source):
            found[name] = _read(override, folder / name, *parts[name], dtypes[name])
            tokenizer = tokenizer_of(name)
            lacked = name in TEXT_ENCODERS and tokenizer in parts and not (folder / tokenizer).is_dir()
            if lacked and override.path.is_dir():
                found[tokenizer] = transformers.AutoTokenizer.from_pretrained(override.path)
    return found


def _read(override: Override, config: Path, library: str, kind: str, dtype: torch.dtype) -> Any:
    path, said = override.path, str(override.source)
    package = transformers if library == "transformers" else diffusers
    if path.is_dir():
        own = json.loads((path / "config.json").read_text(encoding="utf-8")).get("_class_name", kind)
        return getattr(package, own).from_pretrained(path, dtype=dtype, use_safetensors=True)
    tensors = read_checkpoint(str(path))
    refuse_side_tensors(tensors, said)
    weights = unscaled(tensors, dtype, said)
    if library == "transformers":
        return _read_text_encoder(_without(weights, TEXT_PREFIXES), getattr(package, kind), config, dtype, said)
    return model_from_tensors(_without(weights, VAE), getattr(package, kind), config, dtype, said)


def _without(tensors: Mapping[str, torch.Tensor], prefixes: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return tensors without these prefixes of programs, which are removed one after the other."""
    for prefix in prefixes:
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        if own:
            # Tensors without the prefix are kept: a whole CLIP also has its vision part.
            tensors = {**{n: t for n, t in tensors.items() if not n.startswith(prefix)}, **own}
    return dict(tensors)


def _read_text_encoder(tensors: dict[str, torch.Tensor], kind: Any, config: Path, dtype: torch.dtype, file: str) -> Any:
    with init_empty_weights():
        model = kind(transformers.AutoConfig.from_pretrained(config))
    wanted = model.state_dict()
    named = dict(_known(tensors, wanted))
    named |= _shared(named, model)
    refuse_misfits(named, wanted, f"{file} is not the {kind.__name__} of its pipeline", "; take another file")
    model.load_state_dict({name: tensor.to(dtype) for name, tensor in named.items()}, assign=True)
    model.tie_weights()
    return model.eval()


def _known(
    tensors: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in tensors.items():
        if name in wanted or not (name.startswith(UNUSED) or name.endswith("position_ids")):
            yield name, tensor


def _shared(named: Mapping[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """Return the file's tensors that the model has under a second name, by that name."""
    # On the meta device, weights are shared only after tying them as the model declares.
    model.tie_weights()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    held = {id(parameters[name]): tensor for name, tensor in named.items() if name in parameters}
    return {name: held[id(p)] for name, p in parameters.items() if name not in named and id(p) in held}
