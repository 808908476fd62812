"""Which served model a client means, also one whose makers wrote the name of OpenAI's model into it."""

from __future__ import annotations

import re
from collections.abc import Collection

from core.generation.hints import header_text
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import first_able

_THEIRS = re.compile(r"(openai/)?(dall-e|gpt|chatgpt|sora|o[0-9])\b.*|dummy|tgi", re.IGNORECASE)
"""Names of OpenAI's models, and what Hugging Face's clients say for none. No model here is the one, so nobody who asks
for it expects its images.
"""


def entry_for(catalogue: Catalogue, name: str | None, tasks: Collection[Task]) -> Entry:
    """Return the model of a name: of OpenAI's that are no aliases here, and of none, the first that does such a task.

    Raises UnknownModel.
    """
    if name is not None and not _stands_in(catalogue, name):
        return catalogue.get(name)
    return first_able(catalogue, lambda entry: not entry.tasks.keys().isdisjoint(tasks))


def stand_in_hint(catalogue: Catalogue, name: str | None, entry: Entry) -> str | None:
    """Return a hint about a name of OpenAI's, for which a model stands in."""
    if name is None or not _stands_in(catalogue, name):
        return None
    return f"model: {header_text(name)} is not here; {entry.id} stands in for it"


def _stands_in(catalogue: Catalogue, name: str) -> bool:
    return catalogue.named(name) is None and _THEIRS.fullmatch(name) is not None
