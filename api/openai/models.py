"""Models as OpenAI's API lists them, plus what each can do."""

from __future__ import annotations

import time
from typing import Any

from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.showing.capabilities import capabilities

STARTED_AT = int(time.time())
"""Our value for `created`: weights do not say when they were made."""


def model_list(catalogue: Catalogue) -> dict[str, Any]:
    """Return the models served, the default first."""
    return {"object": "list", "data": [model_object(catalogue, entry.id) for entry in catalogue.entries.values()]}


def model_object(catalogue: Catalogue, name: str) -> dict[str, Any]:
    """Return one model by its id or an alias. Raises UnknownModel."""
    entry = catalogue.get(name)
    return {
        "id": name,
        "object": "model",
        "created": STARTED_AT,
        "owned_by": _owner(entry),
        "root": entry.id,
        "aliases": sorted(alias for alias, model in catalogue.aliases.items() if model == entry.id),
        "capabilities": capabilities(entry),
    }


def _owner(entry: Entry) -> str:
    """Return the organisation on the Hugging Face Hub that the model's repository belongs to."""
    return entry.source.repo.partition("/")[0] if entry.source.repo else "jubako"
