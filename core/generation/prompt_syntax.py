"""How a prompt is read: as it is, with the weights of A1111's web UI, or as the compel library does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from operator import itemgetter

STRONGER, WEAKER = 1.1, 1 / 1.1
MOST_WEIGHT = 10.0
MOST_OPEN = 32
"""The deepest nesting of brackets; deeper ones are plain text. A bracket weighs everything inside it."""


class PromptSyntax(StrEnum):
    PLAIN = "plain"
    A1111 = "a1111"
    COMPEL = "compel"


@dataclass(frozen=True)
class Fragment:
    """A part of a prompt, and its share of the model's attention; 1 is normal."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class LoraTag:
    name: str
    scale: str
    """As it was written; "1" where it was left out."""


_PIECE = re.compile(
    r"""\\(?P<escaped>[()\[\]\\])
    | (?P<open>[(\[])
    | :[ ]?(?P<weight>[+-]?(?:\d{1,6}(?:\.\d{0,9})?|\.\d{1,9}))[ ]?\)
    | (?P<close>[)\]])
    | (?P<text>[^\\()\[\]:]+ | .)""",
    re.VERBOSE | re.DOTALL,
)
_BREAK = re.compile(r"\bBREAK\b")
_TAG = re.compile(r"<\s*(?P<kind>lora|lyco|hypernet)\s*:(?P<name>[^<>:]+)(?::(?P<scale>[^<>]*))?>", re.IGNORECASE)
_WEIGHTED = re.compile(r":[ ]?\d{0,6}\.?\d{1,9}[ ]?\)|\(\([^()]+\)\)|\[\[[^\[\]]+\]\]|<lora:[^<>]+>|\bBREAK\b")
_MARK = re.compile(r"[()\[\]\\<+-]|BREAK")
_COMPEL = re.compile(r"\w[+-]{2,}(?!\w)|\)(?:[+-]+|\d*\.\d+)(?!\w)|\)\.(?:blend|and)\(")


def prompt_parts(prompt: str) -> list[list[Fragment]]:
    """Return the fragments of an A1111 prompt, one list for each part between BREAKs.

    `(word)` multiplies the weight by 1.1, `[word]` divides it by 1.1, `(word:1.3)` multiplies it by 1.3; they may be
    nested. A bracket that is never closed acts to the end, and one after a backslash is plain text.
    """
    return [_fragments(part.strip()) for part in _BREAK.split(prompt)]


def plain_text(prompt: str, syntax: PromptSyntax) -> str:
    """Return only the words of a prompt, without the marks of its syntax."""
    if syntax is not PromptSyntax.A1111:
        return prompt
    return " ".join("".join(fragment.text for fragment in part) for part in prompt_parts(prompt)).strip()


def without_lora_tags(prompt: str) -> tuple[str, list[LoraTag]]:
    """Return an A1111 prompt without its `<lora:name:scale>` tags, and these. Raises ValueError for a hypernetwork."""
    tags = [_tag(match) for match in _TAG.finditer(prompt)]
    return re.sub(r"[ \t]{2,}", " ", _TAG.sub("", prompt)).strip() if tags else prompt, tags


def has_marks(prompt: str) -> bool:
    """Whether a prompt contains marks that any of the syntaxes would interpret."""
    return bool(_MARK.search(prompt))


def suspected_syntax(prompt: str) -> PromptSyntax | None:
    """Return the syntax that a prompt is obviously written in; None for plain words."""
    if _WEIGHTED.search(prompt):
        return PromptSyntax.A1111
    return PromptSyntax.COMPEL if _COMPEL.search(prompt) else None


def _tag(match: re.Match[str]) -> LoraTag:
    if match["kind"].lower() == "hypernet":
        raise ValueError(f"hypernetworks are not supported: {match[0][:80]}")
    return LoraTag(match["name"].strip(), (match["scale"] or "1").strip())


def _fragments(part: str) -> list[Fragment]:
    texts: list[str] = []
    weights: list[float] = []
    # Where each open bracket began, innermost last.
    opened: list[tuple[str, int]] = []
    for piece in _PIECE.finditer(part):
        if piece["open"] and len(opened) < MOST_OPEN:
            opened.append((piece["open"], len(texts)))
        elif piece["weight"] and opened and opened[-1][0] == "(":
            _weigh(weights, opened.pop()[1], float(piece["weight"]))
        elif piece["close"] and opened and opened[-1][0] == {")": "(", "]": "["}[piece["close"]]:
            bracket, first = opened.pop()
            _weigh(weights, first, STRONGER if bracket == "(" else WEAKER)
        else:
            texts.append(piece["escaped"] or piece[0])
            weights.append(1.0)
    for bracket, first in opened:
        _weigh(weights, first, STRONGER if bracket == "(" else WEAKER)
    # Adjacent fragments of equal weight are tokenized together.
    alike = groupby(zip(texts, weights, strict=True), key=itemgetter(1))
    return [Fragment("".join(text for text, _ in group), weight) for weight, group in alike]


def _weigh(weights: list[float], first: int, weight: float) -> None:
    weights[first:] = [each * weight for each in weights[first:]]
