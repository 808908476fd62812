"""How frames are kept consistent, and who is in them. Knows no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated
from unicodedata import east_asian_width

from pydantic import Field, StringConstraints

from core.generation.client_fields import ClientFields
from storyboard.planning.beats import words_of
from storyboard.planning.words import DETERMINERS, PREPOSITIONS

MOST_CHARACTERS = 6
MOST_NAME_CHARS, MOST_LOOKS_CHARS = 60, 500


class Mode(StrEnum):
    """What frames follow beside their prompts."""

    AUTO = "auto"
    """Decided by the story's other fields and the model."""
    SIMPLE = "simple"
    REF_GUIDED = "ref_guided"
    """Frames follow a reference image, through an IP-Adapter."""
    EDIT = "edit"
    """Each frame is an edit of its characters' reference images."""


class Character(ClientFields):
    """Somebody or something that looks the same in all frames."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_NAME_CHARS)] = Field(
        description="Its name in prompts and captions."
    )
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MOST_LOOKS_CHARS)] = Field(
        default="", description="What it looks like; its reference is drawn from this, if needed. Default: its name."
    )

    @property
    def looks(self) -> str:
        return self.prompt or self.name


def named_in(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that occur in a text, in full or by a capitalised word that no other name has (Aldar for Aldar
    Kose).
    """
    words, parts = _bare(text), {name: _parts(name) for name in names}
    owners = Counter(part for each in parts.values() for part in each)
    return tuple(
        name
        for name in names
        if _is_whole(name, words, text) or any(owners[part] == 1 and part in words for part in parts[name])
    )


def _is_whole(name: str, words: Sequence[str], text: str) -> bool:
    if any(east_asian_width(letter) in "WF" for letter in name):
        # A script without spaces between words.
        return name in text
    whole = _bare(name)
    return bool(whole) and any(list(words[at : at + len(whole)]) == whole for at in range(len(words)))


def _parts(name: str) -> set[str]:
    capitalised = " ".join(part for part in name.split() if part[:1].isupper())
    return set(_bare(capitalised)) - DETERMINERS - PREPOSITIONS


def _bare(text: str) -> list[str]:
    return [word.removesuffix("'s").removesuffix("’s") for word in words_of(text)]
