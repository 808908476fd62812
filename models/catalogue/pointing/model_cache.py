"""Cached descriptions of models, each in a file that other processes and later starts can read without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from core.errors import StartError
from core.version import VERSION
from models.catalogue.file_changes import stamps, write_whole
from models.catalogue.pointing.pointers import Pointer

MODELS = Path(__file__).parents[2]
MAKERS = (
    *sorted((MODELS / "weights" / "describing").rglob("*.py")),
    *sorted((MODELS / "catalogue" / "checkpoints").glob("*.yaml")),
)
"""Files of ours that descriptions depend on; a change of one invalidates them, as does a new version of diffusers."""
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class ModelCache:
    """A folder for descriptions, downloads from addresses, and whatever else is found out about models."""

    folder: Path

    def get(self, pointer: Pointer) -> Fields | None:
        """Return the cached fields of an entry, if what they were made from is unchanged."""
        try:
            fields = json.loads(self._file(pointer).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(fields, dict):
            return None
        # A downloaded file may have been removed to save space.
        return fields if pointer.url is None or Path(fields["source"]["path"]).exists() else None

    def put(self, pointer: Pointer, fields: Fields) -> None:
        """Store the fields of an entry atomically. Raises StartError."""
        try:
            write_whole(self._file(pointer), json.dumps(fields))
        except OSError as error:
            where = f"{self.folder}: {error.strerror}"
            raise StartError(f"JUBAKO_MODEL_CACHE: what {pointer.text} is cannot be kept in {where}") from error

    @property
    def sharing(self) -> Path:
        """The folder for records of which modules of undeclared pipelines share passes (`models.catalogue.sharing`)."""
        return self.folder / "sharing"

    @property
    def compiled(self) -> Path:
        """The folder for the code of compiled denoisers (`models.weights.compiling`)."""
        return self.folder / "compiled"

    def _file(self, pointer: Pointer) -> Path:
        known = [
            pointer.url,
            pointer.source and pointer.source.model_dump(mode="json"),
            _stamps(pointer),
            _made_by(),
        ]
        return self.folder / "described" / f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}.json"


def model_cache(folder: Path | None) -> ModelCache:
    """Return the cache in an operator's folder, or else beside what comes from the hub."""
    return ModelCache(Path(constants.HF_HOME, "jubako") if folder is None else folder.expanduser().absolute())


def _stamps(pointer: Pointer) -> list[tuple[str, int, int]]:
    """Return the stamps of the local files that a description depends on."""
    path = pointer.source and pointer.source.path
    return list(stamps(path)) if path else []


@cache
def _made_by() -> list[str]:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in MAKERS)).hexdigest()
    return [VERSION, version("diffusers"), digest]
