"""Which served model a client means, including clients that always ask for one of OpenAI's models."""

from __future__ import annotations

import re
from collections.abc import Collection

from core.generation.hints import header_text
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import first_able

_THEIRS = re.compile(r"(openai/)?(dall-e|gpt|chatgpt|sora|o[0-9])\b.*|dummy|tgi", re.IGNORECASE)
"""Names of OpenAI's models, and placeholders of Hugging Face's clients. None is served here, so another model may stand
in.
"""


def entry_for(catalogue: Catalogue, name: str | None, tasks: Collection[Task]) -> Entry:
    """Return the model that a name means: without a name, or for one of OpenAI's that is no alias here, the first that
    does one of the tasks.

    Raises UnknownModel.
    """
    if name is not None and not _stands_in(catalogue, name):
        return catalogue.get(name)
    return first_able(catalogue, lambda entry: not entry.tasks.keys().isdisjoint(tasks))


def stand_in_hint(catalogue: Catalogue, name: str | None, entry: Entry) -> str | None:
    """Return a hint that a model stands in for one of OpenAI's."""
    if name is None or not _stands_in(catalogue, name):
        return None
    return f"model: {header_text(name)} is not here; {entry.id} stands in for it"


def _stands_in(catalogue: Catalogue, name: str) -> bool:
    return catalogue.named(name) is None and _THEIRS.fullmatch(name) is not None
