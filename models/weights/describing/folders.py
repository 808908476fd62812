"""Finds out what a pipeline in diffusers layout is, from its configurations and the headers of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import LoadFailed
from core.generation.request import Task
from models.catalogue.families import FAMILIES
from models.catalogue.presence import NOT_LOADED
from models.weights.describing.checkpoint_facts import CheckpointFacts, Weights
from models.weights.describing.model_folder import ModelCard, ModelFolder
from models.weights.fetching.fetch import PICKLES, refused_pickle

VARIANT = re.compile(r"\.(?P<variant>[a-z]\w*)(-\d{5}-of-\d{5})?\.safetensors$")
PICKLED_BYTES = 4
"""The size of a parameter if no header says it."""


@dataclass(frozen=True)
class OfNoFamily:
    """A pipeline whose class no family declares."""

    name: str
    pipeline: str
    weights: Weights
    card: ModelCard
    variant: str | None


def inspect_folder(folder: ModelFolder, name: str, *, allow_pickle: bool) -> CheckpointFacts | OfNoFamily:
    """Return what a pipeline is. Raises LoadFailed with what to do, or LoadInterrupted."""
    index = folder.read_json("model_index.json")
    pipeline = str(index.get("_class_name", ""))
    if not pipeline:
        raise LoadFailed("its model_index.json names no pipeline")
    parts = [name for name, part in index.items() if isinstance(part, list) and part[0] and name not in NOT_LOADED]
    configs = {part: folder.read_json(f"{part}/config.json") for part in parts}
    sampler = folder.read_json("scheduler/scheduler_config.json")
    family = _family(pipeline, index, configs, sampler, name)
    denoiser = next((part for part in ("unet", "transformer", "prior") if part in parts), parts[0] if parts else "")
    variant = _variant(folder, denoiser)
    weights = _weights(folder, parts, denoiser, variant, allow_pickle=allow_pickle)
    if family is None or _edits_by_instruction(configs):
        other = "StableDiffusionInstructPix2PixPipeline" if family else pipeline
        return OfNoFamily(name, other, weights, folder.card, variant)
    vae, unet = configs.get("vae", {}), configs.get("unet", {})
    return CheckpointFacts(
        name=name,
        family=family,
        weights=weights,
        card=folder.card,
        tasks=_tasks(index, configs, name),
        sampler=sampler,
        variant=variant,
        native_px=_native_px(configs),
        latent_channels=vae.get("latent_channels", vae.get("z_dim")),
        experts=2 if "transformer_2" in parts else 1,
        guided_by_input=unet.get("time_cond_proj_dim") is not None,
        distilled=index.get("is_distilled"),
        pipeline=pipeline,
    )


def _family(
    pipeline: str, index: Mapping[str, Any], configs: Mapping[str, Any], sampler: Mapping[str, Any], name: str
) -> str | None:
    """Return the family of a pipeline's class; if several have the class, the checkpoint decides."""
    having = [family.name for family in FAMILIES.values() if pipeline in family.pipelines.values()]
    if "flux-schnell" in having:
        return "flux" if configs.get("transformer", {}).get("guidance_embeds") else "flux-schnell"
    if "wan-ti2v" in having:
        if index.get("expand_timesteps"):
            return "wan-ti2v"
        both_ends = configs.get("transformer", {}).get("pos_embed_seq_len") is not None
        return "wan-flf2v" if both_ends else next(each for each in having if each != "wan-ti2v")
    if "ltx-distilled" in having or "ltx-2" in having:
        stretched = sampler.get("use_dynamic_shifting") or sampler.get("shift_terminal")
        version = _ltx(configs.get("transformer", {})) if "ltx-2" in having else "ltx"
        return version if stretched and "distilled" not in name.lower() else f"{version}-distilled"
    return having[0] if having else None


def _ltx(transformer: Mapping[str, Any]) -> str:
    """Return the version of LTX-2: since 2.3, prompts are projected before they reach the transformer."""
    return "ltx-2" if transformer.get("use_prompt_embeddings", True) else "ltx-2.3"


def _channels(configs: Mapping[str, Mapping[str, Any]]) -> tuple[int, int]:
    """Return the UNet's input channels and the VAE's latent channels."""
    latent = configs.get("vae", {}).get("latent_channels", 4)
    return configs["unet"].get("in_channels", latent), latent


def _edits_by_instruction(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a UNet takes an image beside the latents, but no mask."""
    if "unet" not in configs:
        return False
    taken, latent = _channels(configs)
    return taken == 2 * latent


def _tasks(index: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], name: str) -> tuple[Task, ...]:
    if index.get("requires_aesthetics_score"):
        return (Task.IMAGE_TO_IMAGE,)
    if "unet" not in configs:
        return ()
    taken, latent = _channels(configs)
    if taken == latent:
        return ()
    if taken == 2 * latent + 1:
        return (Task.INPAINT,)
    raise LoadFailed(
        f"the UNet of {name} takes {taken} channels, and its VAE gives {latent}: no task is known for that"
    )


def _native_px(configs: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Return the side of the square pictures that the denoiser was made for, if its configuration says."""
    sample = (configs.get("unet") or configs.get("transformer") or {}).get("sample_size")
    blocks = configs.get("vae", {}).get("block_out_channels")
    if not isinstance(sample, int) or not isinstance(blocks, Sequence):
        return None
    factor: int = 2 ** (len(blocks) - 1)
    return sample * factor


def _variant(folder: ModelFolder, denoiser: str) -> str | None:
    """Return the variant of the weights to use: None for plain ones, unless there is a half-precision variant."""
    names = [name for name in folder.sizes if name.startswith(f"{denoiser}/") and name.endswith(".safetensors")]
    variants = {name: found["variant"] if (found := VARIANT.search(name)) else None for name in names}
    known = sorted({each for each in variants.values() if each}, key=lambda each: each != "fp16")
    return known[0] if known and ("fp16" in known or None not in variants.values()) else None


def _weights(
    folder: ModelFolder, parts: list[str], denoiser: str, variant: str | None, *, allow_pickle: bool
) -> Weights:
    parameters: dict[str, int] = {}
    stored: dict[str, int] = {}
    total_bytes = 0
    for part in parts:
        files = _files(folder, part, variant)
        total_bytes += sum(folder.sizes[name] for name in files)
        pickles = [name for name in files if name.endswith(PICKLES)]
        if pickles and not allow_pickle:
            raise refused_pickle(pickles[0])
        parameters[part] = sum(folder.sizes[name] // PICKLED_BYTES for name in pickles)
        for counts in (folder.header(name).parameter_count for name in files if name.endswith(".safetensors")):
            parameters[part] += sum(counts.values())
            if part == denoiser:
                stored = {kind: stored.get(kind, 0) + count for kind, count in counts.items()}
    kept = {part: count for part, count in parameters.items() if count}
    return Weights(kept, max(stored, key=lambda kind: stored[kind], default=""), total_bytes)


def _files(folder: ModelFolder, part: str, variant: str | None) -> list[str]:
    """Return a component's weight files: the variant's, or else plain ones, or else pickles."""
    own = [name for name in folder.sizes if name.startswith(f"{part}/") and name.count("/") == 1]
    weights = [name for name in own if name.endswith(".safetensors")]
    variants = {name: found["variant"] if (found := VARIANT.search(name)) else None for name in weights}
    for wanted in (variant, None):
        if chosen := [name for name in weights if variants[name] == wanted]:
            return chosen
    return weights or [name for name in own if name.endswith(PICKLES)]
