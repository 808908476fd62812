"""Makes the fields of an entry from a source."""

from __future__ import annotations

from typing import Any

from models.catalogue.sources import Source
from models.weights.describing.entry_fields import entry_fields, undeclared_entry_fields
from models.weights.describing.folders import OfNoFamily, inspect_folder
from models.weights.describing.model_folder import ModelFolder, folder_of
from models.weights.describing.not_pipelines import only_checkpoint
from models.weights.describing.single_file import inspect_file
from models.weights.describing.undeclared.pipelines import undeclared_fields
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import refuse_incomplete


def describe(source: Source, name: str, *, allow_pickle: bool) -> dict[str, Any]:
    """Return the fields of an entry for what is at a source, in JSON types.

    `name` is its name for people. Blocks while downloading what it needs to see. Raises LoadFailed with what to do, or
    LoadInterrupted.
    """
    if source.is_one_file:
        return entry_fields(inspect_file(source, name, allow_pickle=allow_pickle), source)
    folder = folder_of(source)
    if not folder.has("model_index.json"):
        file = only_checkpoint(folder)
        return describe(file, name, allow_pickle=allow_pickle)
    return _of_pipeline(folder, name, allow_pickle=allow_pickle)


def _of_pipeline(folder: ModelFolder, name: str, *, allow_pickle: bool) -> dict[str, Any]:
    if not folder.remote:
        refuse_incomplete(folder.root, folder.source)
    found = inspect_folder(folder, name, allow_pickle=allow_pickle)
    if isinstance(found, OfNoFamily):
        with explained(folder.source):
            own = undeclared_fields(folder.root, found.pipeline)
        return undeclared_entry_fields(found, own, folder.source)
    return entry_fields(found, folder.source)
