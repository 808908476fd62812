"""Finds out what a folder or repository without a pipeline is, and what to do with it."""

from __future__ import annotations

from core.errors import LoadFailed
from core.wording import some
from models.catalogue.single_files import CHECKPOINTS
from models.catalogue.sources import Source
from models.weights.describing.model_folder import ModelFolder

IN_AN_ENTRY = "of an entry in JUBAKO_CATALOGUE"
KINDS = (
    ("ControlNet", f"a ControlNet; name it in `controlnets` {IN_AN_ENTRY}"),
    ("T2IAdapter", "a T2I-Adapter, which is not used"),
    ("Autoencoder", f"a VAE alone; name it as `vae` {IN_AN_ENTRY}"),
    ("VQModel", f"a VAE alone; name it as `vae` {IN_AN_ENTRY}"),
    ("MotionAdapter", "a motion adapter of AnimateDiff, which is not used"),
    ("UNet", "a UNet alone; name the whole pipeline, or its single file"),
    ("Transformer", "a transformer alone; name the whole pipeline, or its single file"),
)
"""What a component of diffusers is, by a substring of the class in config.json."""
ADAPTERS = ("adapter_config.json", "pytorch_lora_weights.safetensors")
LORA = "a LoRA; name it in the entry's `loras`, or put it into the folder of LoRAs"


def only_checkpoint(folder: ModelFolder) -> Source:
    """Return the only checkpoint of a folder without a pipeline. Raises LoadFailed if there is none, or several."""
    if any(folder.has(name) for name in ADAPTERS):
        raise LoadFailed(f"it is {LORA}")
    if config := folder.read_json("config.json"):
        raise LoadFailed(f"it is {_component(config)}")
    files = [name for name in sorted(folder.sizes) if name.endswith(CHECKPOINTS) and "/" not in name]
    safe = [name for name in files if name.endswith((".safetensors", ".gguf"))] or files
    if not safe:
        raise LoadFailed("it has no model_index.json, and no checkpoint: it is not a pipeline in diffusers layout")
    if len(safe) > 1:
        raise LoadFailed(
            f"it has no model_index.json, but {len(safe)} checkpoints; name one: {some(_written(folder, safe))}"
        )
    return _inside(folder, safe[0])


def _component(config: dict[str, object]) -> str:
    kind = str(config.get("_class_name") or "")
    for part, meaning in KINDS:
        if part in kind:
            return meaning
    if config.get("model_type") or config.get("architectures"):
        return f"a text encoder or language model alone; name it as `text_encoder` {IN_AN_ENTRY}"
    return f"{kind or 'a component'} alone, and no pipeline in diffusers layout: it has no model_index.json"


def _written(folder: ModelFolder, names: list[str]) -> list[str]:
    return [str(_inside(folder, name)) for name in names]


def _inside(folder: ModelFolder, name: str) -> Source:
    source = folder.source
    if source.path is not None:
        return Source(path=folder.root / name)
    inside = "/".join(filter(None, (source.subfolder, name)))
    return source.model_copy(update={"subfolder": None, "file": inside})
