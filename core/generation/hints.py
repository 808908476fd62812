"""Hints that accompany a result: what of a prompt or an image the model does not see or know, and what cannot act.

They are safe for a header: signs of other alphabets are percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from core.pixels.fitting import Box, Size


@dataclass(frozen=True)
class PromptReading:
    """What a model makes of a request's prompts."""

    tokens: int | None = None
    """Of the whole prompt."""
    hint: str | None = None
    """What it ignores of both prompts."""


UNREAD = PromptReading()
MAX_WORDS = 10
WORD_CHARS = 40
_FIELD = re.compile(r"\w+")


def vocabulary_hint(unknown_words: Sequence[str]) -> str | None:
    """Return a hint about words that the model was not trained on."""
    if not unknown_words:
        return None
    return f"unknown words: {_shown(unknown_words, ', ')}; GET /models lists the vocabulary"


def cut_hint(field: str, tokens: int, ignored: str) -> str:
    """Return a hint about the end of a prompt, which the model ignores, since it reads so many tokens."""
    return f"{field} is too long: the model reads {tokens} tokens of it, and ignored: {_shown(ignored.split(), ' ')}"


def cropped_hint(field: str, size: Size, box: Box) -> str | None:
    """Return a hint about what of an image is not used, if that is a pixel or more."""
    left, top, right, bottom = box
    width, height = round(right - left), round(bottom - top)
    if (width, height) == size:
        return None
    return f"{field} was cropped to {width}x{height} of {size[0]}x{size[1]} pixels; fit=pad keeps all of it"


def snapped_hint(asked: Size, size: Size) -> str:
    """Return a hint about a size that became another."""
    return f"width: {asked[0]}x{asked[1]} became {size[0]}x{size[1]}, the nearest size that the model generates"


def ignored_hint(field: str, reason: str) -> str:
    """Return a hint about a parameter that has no effect."""
    return f"{field} is ignored: {reason}"


def unknown_hint(fields: Collection[str]) -> str | None:
    """Return a hint about fields that a contract does not have, where those are no mistakes."""
    return f"unknown fields are ignored: {_shown(sorted(fields), ', ')}" if fields else None


def renamed(hint: str, names: Mapping[str, str]) -> str:
    """Return a hint with the name by which a contract knows its field; hints about fields begin with it."""
    field = _FIELD.match(hint)
    return hint if field is None else names.get(field[0], field[0]) + hint[field.end() :]


def joined(*hints: str | None) -> str | None:
    """Return all hints that there are as one."""
    return "; ".join(filter(None, hints)) or None


def hint_header(hint: str | None) -> dict[str, str]:
    """Return the header that every contract sends a hint in."""
    return {} if hint is None else {"X-Jubako-Hint": hint}


def header_text(text: str) -> str:
    """Return a text as a header can have it."""
    return quote(text, safe=" ,'-;:/()!?=+*_.\"[]")


def _shown(words: Sequence[str], separator: str) -> str:
    more = f" and {len(words) - MAX_WORDS} more" if len(words) > MAX_WORDS else ""
    return header_text(separator.join(word[:WORD_CHARS] for word in words[:MAX_WORDS])) + more
