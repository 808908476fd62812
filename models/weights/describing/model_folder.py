"""The files of a pipeline in diffusers layout, local or on the hub, without weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    HfApi,
    metadata_load,
    parse_local_safetensors_file_metadata,
    parse_safetensors_file_metadata,
)
from huggingface_hub.utils._safetensors import SafetensorsFileMetadata

from core.errors import LoadFailed, LoadInterrupted
from models.catalogue.presence import is_here
from models.catalogue.sources import Source
from models.weights.fetching.explanations import explained, explained_fetch
from models.weights.fetching.fetch import local_path

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ModelCard:
    """Facts from a model card."""

    licence: str = UNKNOWN
    gated: bool = False
    based_on: tuple[str, ...] = ()
    """The repositories that the model was derived from."""


@dataclass(frozen=True)
class ModelFolder:
    """A local folder, or a repository of the hub whose configurations have been fetched."""

    source: Source
    root: Path
    """The folder with the configurations, and with the weights unless `remote`."""
    sizes: Mapping[str, int]
    """The size in bytes of each file, by its path below the root."""
    card: ModelCard = field(default_factory=ModelCard)
    remote: bool = False

    def has(self, name: str) -> bool:
        return name in self.sizes

    def read_json(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder; empty if there is none. Raises LoadFailed for a damaged one."""
        if not (self.root / name).is_file():
            return {}
        with explained(self.source):
            found = json.loads((self.root / name).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise LoadFailed(f"{name} is damaged: it holds no mapping")
        return found

    def header(self, name: str) -> SafetensorsFileMetadata:
        """Return the header of a safetensors file. Raises LoadFailed, or LoadInterrupted."""
        if not self.remote:
            with explained(self.source):
                return parse_local_safetensors_file_metadata(self.root / name)
        inside = "/".join(filter(None, (self.source.subfolder, name)))
        with explained_fetch(self.source):
            return parse_safetensors_file_metadata(str(self.source.repo), inside, revision=self.source.revision)


def folder_of(source: Source) -> ModelFolder:
    """Return the folder of a source. Raises LoadFailed with what to do, or LoadInterrupted."""
    if source.repo is None:
        return _here(source, local_path(source))
    try:
        sizes, card = listing(source)
    except (LoadFailed, LoadInterrupted):
        # Without the hub, use what was downloaded earlier.
        if not is_here(source):
            raise
        return _here(source, local_path(source))
    return ModelFolder(source, local_path(source, configs_only=True), sizes, card, remote=True)


def listing(source: Source) -> tuple[Mapping[str, int], ModelCard]:
    """Return the sizes of a repository's files, in its subfolder if one is named, and its card.

    Raises LoadFailed with what to do, or LoadInterrupted.
    """
    with explained_fetch(source):
        info = HfApi().model_info(str(source.repo), revision=source.revision, files_metadata=True)
    folder = f"{source.subfolder}/" if source.subfolder else ""
    files = [file for file in info.siblings or () if file.rfilename.startswith(folder)]
    sizes = {file.rfilename.removeprefix(folder): file.size or 0 for file in files}
    return sizes, _card(vars(info.card_data) if info.card_data else {}, gated=bool(info.gated))


def _here(source: Source, root: Path) -> ModelFolder:
    if not root.is_dir():
        raise LoadFailed(f"{source} is not a folder")
    files = [file for file in (*root.glob("*"), *root.glob("*/*")) if file.is_file()]
    sizes = {file.relative_to(root).as_posix(): file.stat().st_size for file in files}
    return ModelFolder(source, root, sizes, local_card(root))


def local_card(folder: Path) -> ModelCard:
    """Return the card in a folder's README.md."""
    file = folder / "README.md"
    try:
        return _card(metadata_load(file) or {} if file.is_file() else {}, gated=False)
    except (OSError, ValueError, yaml.YAMLError):
        return ModelCard()


def _card(data: Mapping[str, Any], *, gated: bool) -> ModelCard:
    licence = data.get("license_name") if data.get("license") in (None, "other") else data.get("license")
    based_on = data.get("base_model") or ()
    return ModelCard(
        str(licence or data.get("license") or UNKNOWN),
        gated,
        (based_on,) if isinstance(based_on, str) else tuple(map(str, based_on)),
    )
