"""Descriptions that were made before, each in a file that all processes and later starts find without torch."""

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
from models.catalogue.local_files import stamps, write_whole
from models.catalogue.pointing.pointers import Pointer

MODELS = Path(__file__).parents[2]
MAKERS = (
    *sorted((MODELS / "weights" / "describing").rglob("*.py")),
    *sorted((MODELS / "catalogue" / "checkpoints").glob("*.yaml")),
)
"""What descriptions follow from; a change of it makes new ones."""
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Shelf:
    """A folder of descriptions, of downloads from addresses, and of what else is learnt about models."""

    folder: Path

    def get(self, pointer: Pointer) -> Fields | None:
        """Return the fields of an entry that were found before, if what they were made of is unchanged."""
        try:
            fields = json.loads(self._file(pointer).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(fields, dict):
            return None
        # The file of an address may have been removed to save space.
        return fields if pointer.url is None or Path(fields["source"]["path"]).exists() else None

    def put(self, pointer: Pointer, fields: Fields) -> None:
        """Keep the fields of an entry; a reader meanwhile finds all of them or none. Raises StartError."""
        try:
            write_whole(self._file(pointer), json.dumps(fields))
        except OSError as error:
            where = f"{self.folder}: {error.strerror}"
            raise StartError(f"JUBAKO_MODEL_CACHE: what {pointer.text} is cannot be kept in {where}") from error

    @property
    def sharing(self) -> Path:
        """Where to keep which modules of undeclared pipelines share passes (`models.catalogue.sharing`)."""
        return self.folder / "sharing"

    @property
    def compiled(self) -> Path:
        """Where to keep the code of compiled denoisers (`models.weights.compiling`)."""
        return self.folder / "compiled"

    def _file(self, pointer: Pointer) -> Path:
        known = [
            pointer.url,
            pointer.source and pointer.source.model_dump(mode="json"),
            _stamps(pointer),
            _made_by(),
        ]
        return self.folder / "described" / f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}.json"


def shelf(folder: Path | None) -> Shelf:
    """Return the shelf in an operator's folder, or else beside what comes from the hub."""
    return Shelf(Path(constants.HF_HOME, "jubako") if folder is None else folder.expanduser().absolute())


def _stamps(pointer: Pointer) -> list[tuple[str, int, int]]:
    """Of the local files that a description depends on."""
    path = pointer.source and pointer.source.path
    return list(stamps(path)) if path else []


@cache
def _made_by() -> list[str]:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in MAKERS)).hexdigest()
    return [VERSION, version("diffusers"), digest]
