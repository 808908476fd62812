"""Components of a pipeline from the tensors of one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file import load_single_file_sub_model
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from core.errors import LoadFailed
from core.wording import some
from models.catalogue.families import Family
from models.catalogue.presence import NOT_LOADED
from models.weights.files import flux_modules
from models.weights.files.contents import DENOISER, Contents, Tensors


def read_components(held: Contents, family: Family, config: Path, dtype: torch.dtype, file: str) -> dict[str, Any]:
    """Return the components of the pipeline in the folder `config` that the file holds.

    Raises LoadFailed if the file's tensors are not those of the denoiser that `config` describes, and whatever
    diffusers raises.
    """
    found = {}
    for name, (library, kind) in pipeline_parts(config).items():
        if held.holds(name, kind, family.denoiser):
            own_dtype = torch.float32 if name in family.float32_components else dtype
            if name == family.denoiser:
                found[name] = model_from_tensors(held.denoiser, getattr(diffusers, kind), config / name, dtype, file)
            else:
                tensors = held.vae if name == "vae" else held.text
                found[name] = _read(name, library, kind, tensors, config, own_dtype)
    return found


def pipeline_parts(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the library and the class of each component that a pipeline in diffusers layout loads."""
    parts = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    named = {name: part for name, part in parts.items() if isinstance(part, list) and part[0] is not None}
    return {name: (part[0], part[1]) for name, part in named.items() if name not in NOT_LOADED}


def left_out(folder: Path) -> list[str]:
    """Return the components that a pipeline in diffusers layout was saved without, such as the T5 of an SD 3."""
    parts = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    return [name for name, part in parts.items() if part == [None, None]]


def _read(name: str, library: str, kind: str, tensors: Tensors, config: Path, dtype: torch.dtype) -> Any:
    return load_single_file_sub_model(
        library_name=library,
        class_name=kind,
        name=name,
        checkpoint=dict(tensors),
        pipelines=diffusers.pipelines,
        is_pipeline_module=False,
        cached_model_config_path=str(config),
        local_files_only=True,
        torch_dtype=dtype,
    )


def model_from_tensors(tensors: Tensors, kind: Any, config: Path, dtype: torch.dtype, file: str) -> Any:
    """Make a denoiser or VAE from tensors, whatever program named them. Raises LoadFailed if they do not fit."""
    fields = kind.load_config(str(config))
    with init_empty_weights():
        model = kind.from_config(fields)
    wanted = model.state_dict()
    named = _by_diffusers_names(dict(tensors), kind, fields, wanted)
    advice = "; name the pipeline that it was made for as `config`"
    refuse_misfits(named, wanted, f"{file} is not the {kind.__name__} of its pipeline", advice)
    precise = set(kind._keep_in_fp32_modules or ())
    model.load_state_dict(
        {name: _cast(t, torch.float32 if precise & set(name.split(".")) else dtype) for name, t in named.items()},
        assign=True,
    )
    return model.eval()


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _by_diffusers_names(tensors: dict[str, torch.Tensor], kind: Any, fields: Any, wanted: Tensors) -> Tensors:
    if set(wanted) <= set(tensors):
        return tensors
    if kind is diffusers.FluxTransformer2DModel:
        return flux_modules.to_diffusers(tensors, fields["num_layers"], fields["num_single_layers"])
    if kind.__name__ not in SINGLE_FILE_LOADABLE_CLASSES:
        return tensors
    convert: Callable[..., Tensors] = SINGLE_FILE_LOADABLE_CLASSES[kind.__name__]["checkpoint_mapping_fn"]
    if kind is diffusers.UNet2DConditionModel:
        # The converter expects the denoiser's prefix.
        tensors = {f"{DENOISER[0]}{name}": tensor for name, tensor in tensors.items()}
    return convert(checkpoint=tensors, config=fields)


def refuse_misfits(named: Tensors, wanted: Tensors, said: str, advice: str) -> None:
    """Raise LoadFailed, beginning with `said`, for missing or unknown tensors and wrong shapes.

    Diffusers would only warn of unknown ones, and fail later for missing ones.
    """
    if missing := [name for name in wanted if name not in named]:
        raise LoadFailed(f"{said}: it lacks {some(missing)}{advice}")
    if unknown := [name for name in named if name not in wanted]:
        raise LoadFailed(f"{said}: that has no {some(unknown)}{advice}")
    if other := [name for name in wanted if named[name].shape != wanted[name].shape]:
        sizes = f"{tuple(named[other[0]].shape)}, and not {tuple(wanted[other[0]].shape)}"
        raise LoadFailed(f"{said}: {other[0]} is of shape {sizes}{advice}")
