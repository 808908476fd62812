"""How a Bento carries models: their weights in BentoML's model store, their entries in a file with its code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import bentoml
import yaml
from bentoml.exceptions import NotFound

from core.errors import StartError
from models.catalogue.catalogue import CARRIED
from models.catalogue.entry import Entry
from models.weights.store import save_to_store


def write_carried(catalogue: Path, entries: Iterable[Entry]) -> None:
    """Write the entries into a copy of the folder `models/catalogue/`, with the store as the source of their weights.

    Weights that are in the store under an entry's name are used; others are fetched into it first. Raises StartError
    for an entry that needs files which the Bento would not contain, and LoadFailed with what to do.
    """
    fields = {entry.id: {**_portable(entry), "source": _stored(entry)} for entry in entries}
    (catalogue / CARRIED.name).write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")


def _portable(entry: Entry) -> dict[str, Any]:
    fields = entry.model_dump(mode="json", exclude={"id", "source"}, exclude_unset=True)
    if left := sorted(_local_files(fields)):
        raise StartError(f"{entry.id}: a Bento carries what is at `source`, and would leave behind: {', '.join(left)}")
    return fields


def _stored(entry: Entry) -> dict[str, str]:
    try:
        model = bentoml.models.get(entry.id)
    except NotFound:
        model = bentoml.models.get(save_to_store(entry))
    files = list(Path(model.path).glob("*.safetensors")) + list(Path(model.path).glob("*.gguf"))
    # Pipelines have their files in a folder for each component; a file at the top is a single-file model.
    return {"bento": str(model.tag), **({"file": files[0].name} if files else {})}


def _local_files(fields: Mapping[str, Any], place: str = "") -> Iterable[str]:
    """Yield the names of fields that are files of this machine."""
    for name, value in fields.items():
        if name in ("path", "vocabulary") and value is not None:
            yield place + name
        elif isinstance(value, Mapping):
            yield from _local_files(value, f"{place}{name}.")
