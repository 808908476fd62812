"""Descriptions that were made before, each in a file that all processes and later starts find without torch."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from core.errors import StartError
from core.version import VERSION
from models.catalogue.pointing.pointers import Pointer

MODELS = Path(__file__).parents[2]
MAKERS = (
    *sorted((MODELS / "weights" / "describing").rglob("*.py")),
    *sorted((MODELS / "catalogue" / "checkpoints").glob("*.yaml")),
)
"""What descriptions follow from; whoever changes it gets new ones."""
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Shelf:
    """A folder of descriptions, of downloads from addresses, and of what else is learnt about models."""

    folder: Path

    def get(self, pointer: Pointer) -> Fields | None:
        """Return the fields of an entry that were found before, if what they were made of is unchanged."""
        try:
            fields: Fields = json.loads(self._file(pointer).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        # The file of an address may have been removed to save space.
        return fields if pointer.url is None or Path(fields["source"]["path"]).exists() else None

    def put(self, pointer: Pointer, fields: Fields) -> None:
        """Keep the fields of an entry; whoever reads meanwhile finds all of them or none. Raises StartError."""
        file = self._file(pointer)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as begun:
                json.dump(fields, begun)
            Path(begun.name).replace(file)
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
            list(_files(pointer)),
            _made_by(),
        ]
        return self.folder / "described" / f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}.json"


def shelf(folder: Path | None) -> Shelf:
    """Return the shelf in an operator's folder, or else beside what comes from the hub."""
    return Shelf(Path(constants.HF_HOME, "jubako") if folder is None else folder.expanduser().absolute())


def _files(pointer: Pointer) -> Iterator[tuple[str, int, int]]:
    """Yield the names, sizes and times of the local files that a description depends on."""
    if pointer.source is None or pointer.source.path is None:
        return
    path = pointer.source.path
    for file in [path] if path.is_file() else sorted([*path.glob("*.*"), *path.glob("*/*.*")]):
        if file.is_file():
            yield str(file), file.stat().st_size, file.stat().st_mtime_ns


@cache
def _made_by() -> list[str]:
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in MAKERS)).hexdigest()
    return [VERSION, version("diffusers"), digest]
