"""How frames are kept alike, and who is in them. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from core.generation.client_fields import ClientFields
from storyboard.planning.beats import words_of

MOST_CHARACTERS = 6
MOST_NAME_CHARS, MOST_LOOKS_CHARS = 60, 500


class Mode(StrEnum):
    """What frames follow besides their prompts."""

    AUTO = "auto"
    """What the story's other fields, and the model, say."""
    SIMPLE = "simple"
    REF_GUIDED = "ref_guided"
    """A reference image, through an IP-Adapter."""
    EDIT = "edit"
    """Each frame is an edit of its characters' reference images."""


class Character(ClientFields):
    """Somebody, or something, that looks the same in all frames."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_NAME_CHARS)] = Field(
        description="What prompts and captions call it."
    )
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MOST_LOOKS_CHARS)] = Field(
        default="", description="What it looks like: drawn from this where it has no image. Default: its name."
    )

    @property
    def looks(self) -> str:
        return self.prompt or self.name


def named_in(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that a text has: as they are, or a capitalised word of them (Aldar, of Aldar Kose)."""
    words = [_without_possessive(word) for word in words_of(text)]
    return tuple(name for name in names if _is_named(name, words))


def _is_named(name: str, words: Sequence[str]) -> bool:
    whole = words_of(name)
    if any(list(words[at : at + len(whole)]) == whole for at in range(len(words))):
        return bool(whole)
    parts = [part for part in name.split() if part[:1].isupper()]
    return any(part in words for each in parts for part in words_of(each))


def _without_possessive(word: str) -> str:
    return word.removesuffix("'s").removesuffix("’s")
