"""BentoML's model store, for putting a catalogue model's files into a Bento."""

from __future__ import annotations

import shutil
from pathlib import Path

import bentoml

from models.catalogue.entry import Entry


def save_to_store(entry: Entry, *, allow_pickle: bool = False) -> str:
    """Put a model's files into BentoML's model store, fetching them if needed; return their tag.

    A catalogue entry with `source: {bento: TAG}` then loads them. Raises LoadFailed with what to do.
    """
    weights = fetched(entry, allow_pickle=allow_pickle)
    labels = {"family": entry.family, "licence": _label(entry.licence)}
    with bentoml.models.create(entry.id, labels=labels) as model:
        _copy(weights, Path(model.path))
        return str(model.tag)


def fetched(entry: Entry, *, allow_pickle: bool = False) -> Path:
    """Return the folder or file of a model's weights, fetching them where needed. Raises LoadFailed."""
    # Imported late: servers use this module only for tags, in processes that need neither torch nor diffusers.
    import diffusers

    from models.weights.file_reading import fetch

    family, tasks = entry.family_spec, entry.tasks
    pipeline_class = getattr(diffusers, next(name for task, name in family.pipelines.items() if task in tasks))
    return fetch(entry, pipeline_class, allow_pickle=allow_pickle).weights


def stored_tags(entry: Entry) -> list[str]:
    """Return the tags in BentoML's store that an entry's weights come from, each once."""
    adapter, token_opt = entry.ip_adapter, entry.token_opt
    sources = [
        entry.source,
        entry.config,
        *entry.overrides.values(),
        *(embedding.source for embedding in entry.embeddings.values()),
        *(lora.source for lora in entry.loras.values()),
        *(net.source for net in entry.controlnets.values()),
        *((adapter.source, adapter.image_encoder) if adapter else ()),
        token_opt and token_opt.clip,
    ]
    return list(dict.fromkeys(source.bento for source in sources if source and source.bento))


def _copy(weights: Path, folder: Path) -> None:
    # The hub's cache holds links to blobs, which copying follows.
    if weights.is_dir():
        shutil.copytree(weights, folder, dirs_exist_ok=True)
    else:
        shutil.copy(weights, folder / weights.name)


def _label(text: str) -> str:
    """Return a valid BentoML label, which has only letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in text)[:63].strip("-_.")
