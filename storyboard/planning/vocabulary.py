"""What a model with a small vocabulary can draw: things, and the colours behind them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from models.catalogue.entry import Entry


@dataclass(frozen=True)
class Vocabulary:
    concepts: tuple[str, ...]
    colours: tuple[str, ...]
    words: frozenset[str]
    """All that a prompt may hold, in lower case."""

    def knows(self, text: str) -> bool:
        return all(word.strip(",") in self.words for word in text.lower().split())


def vocabulary_of(entry: Entry) -> Vocabulary | None:
    """Return what a model can draw; None for a model that takes free words."""
    return None if entry.vocabulary is None else _read(entry.vocabulary)


@cache
def _read(path: Path) -> Vocabulary | None:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not {"concepts", "colours"} <= content.keys():
        return None
    words = frozenset(word.lower() for word in content["words"])
    return Vocabulary(tuple(content["concepts"]), tuple(content["colours"]), words)
