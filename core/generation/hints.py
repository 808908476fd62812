"""Hints that accompany a result: what the model did not see of a prompt or image, and parameters without effect.

They are safe in a header: non-ASCII characters are percent-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from core.pixels.fitting import Box, Size


@dataclass(frozen=True)
class PromptReading:
    """How a model reads a request's prompts."""

    tokens: int | None = None
    """The length of the whole prompt."""
    hint: str | None = None
    """What the model ignores of the prompt and the negative prompt."""


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
    """Return a hint about the end of a prompt, which is ignored since the model reads only `tokens` tokens."""
    return f"{field} is too long: the model reads {tokens} tokens of it, and ignored: {_shown(ignored.split(), ' ')}"


def cropped_hint(field: str, size: Size, box: Box) -> str | None:
    """Return a hint about the part of an image that was cut off; None if that is less than a pixel."""
    left, top, right, bottom = box
    width, height = round(right - left), round(bottom - top)
    if (width, height) == size:
        return None
    return f"{field} was cropped to {width}x{height} of {size[0]}x{size[1]} pixels; fit=pad keeps all of it"


def snapped_hint(asked: Size, size: Size) -> str:
    """Return a hint about a size that was changed to one that the model generates."""
    return f"width: {asked[0]}x{asked[1]} became {size[0]}x{size[1]}, the nearest size that the model generates"


def ignored_hint(field: str, reason: str) -> str:
    """Return a hint about a parameter that has no effect."""
    return f"{field} is ignored: {reason}"


def unknown_hint(fields: Collection[str]) -> str | None:
    """Return a hint about unknown fields, for contracts that ignore them instead of refusing them."""
    return f"unknown fields are ignored: {_shown(sorted(fields), ', ')}" if fields else None


def renamed(hint: str, names: Mapping[str, str]) -> str:
    """Return a hint about a field with the contract's own name for the field, which hints begin with."""
    field = _FIELD.match(hint)
    return hint if field is None else names.get(field[0], field[0]) + hint[field.end() :]


def joined_hints(*hints: str | None) -> str | None:
    """Return the hints as one, or None if there are none."""
    return "; ".join(filter(None, hints)) or None


def hint_header(hint: str | None) -> dict[str, str]:
    """Return the header that every contract sends a hint in."""
    return {} if hint is None else {"X-Jubako-Hint": hint}


def header_text(text: str) -> str:
    """Return a text in a form that a header can carry."""
    return quote(text, safe=" ,'-;:/()!?=+*_.\"[]")


def _shown(words: Sequence[str], separator: str) -> str:
    more = f" and {len(words) - MAX_WORDS} more" if len(words) > MAX_WORDS else ""
    return header_text(separator.join(word[:WORD_CHARS] for word in words[:MAX_WORDS])) + more
