"""Cuts a story into beats: the things that happen in it, one after the other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from storyboard.planning.words import DETERMINERS, OPENERS, PREPOSITIONS, PRONOUNS, VERBS

Span = tuple[int, int]

MIN_WORDS = 3
"""Fewer words without a verb are not a beat of their own."""
MAX_WORDS, MAX_CHARS = 16, 80
"""Longer beats are halved, as in languages without spaces and stories without punctuation."""

_TITLES = r"(?<!\bMr\.)(?<!\bDr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)"
_SENTENCE_END = re.compile(rf"(?:[.!?…;:]+[\"'”’»)]*{_TITLES}(?:\s+|$))|[。！？；।؟۔]+\s*")
_CLAUSE_END = re.compile(r"[,，、،]\s*|\s+[-–—]+\s+")
_JOINER = re.compile(r"\s+(?:and then|then|and|but|while|when|until|before|after|because|so|who)\s+", re.IGNORECASE)
_EDGES = ' ,，、-–—"“”«»'
_JOINED = frozenset("\u200d\ufe0e\ufe0f\u20e3")
"""Characters that modify the one before: joiner, variation selectors, keycap."""


def cleaned(story: str) -> str:
    """Return the story with single spaces, and without characters that are invisible or cannot be encoded."""
    spaced = " ".join(story.split())
    return "".join(char for char in spaced if unicodedata.category(char) not in ("Cc", "Cs", "Co", "Cn"))


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case, without punctuation around them."""
    return [word for part in text.lower().split() if (word := bare(part))]


def bare(word: str) -> str:
    return word.strip(".,!?…;:\"'“”‘’«»()[]。！？，、")


def is_verb(word: str) -> bool:
    return word in VERBS


def beats_of(story: str) -> list[str]:
    """Return the beats of a cleaned story, in its order and its own words; at least one if the story has words."""
    sentences = _cut(story, (0, len(story)), _SENTENCE_END)
    parts = [part for sentence in sentences for part in _joined(story, _cut(story, sentence, _CLAUSE_END))]
    clauses = [clause for part in parts for clause in _at_joiners(story, part)]
    beats = [story[start:end].strip(_EDGES) for clause in clauses for start, end in _halved(story, clause)]
    return [beat for beat in beats if beat]


def merged(beats: list[str], count: int) -> list[str]:
    """Return at most `count` beats, by joining the shortest neighbours."""
    beats = list(beats)
    while len(beats) > count:
        first = min(range(len(beats) - 1), key=lambda at: len(beats[at]) + len(beats[at + 1]))
        beats[first : first + 2] = [f"{beats[first]}, {beats[first + 1]}"]
    return beats


def _cut(text: str, span: Span, mark: re.Pattern[str]) -> Iterator[Span]:
    start, end = span
    for found in mark.finditer(text, start, end):
        if found.start() > start:
            yield start, found.start()
        start = found.end()
    if end > start:
        yield start, end


def _joined(text: str, parts: Iterator[Span]) -> list[Span]:
    """Join parts too short to be a beat, such as items of a list, to the part before, or else the one after."""
    done: list[Span] = []
    for start, end in parts:
        alone = done and _stands(text[slice(*done[-1])]) and _stands(text[start:end])
        if not done or alone:
            done.append((start, end))
        else:
            done[-1] = (done[-1][0], end)
    return done


def _stands(part: str) -> bool:
    words = [word for word in words_of(part) if word not in OPENERS]
    # One wide (East Asian) character counts as about a word.
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in part)
    return any(map(is_verb, words)) or max(len(words), wide - 1) >= MIN_WORDS


def _at_joiners(text: str, span: Span) -> Iterator[Span]:
    """Cut before a conjunction if both sides have a verb."""
    start, end = span
    for found in _JOINER.finditer(text, start, end):
        before, behind = words_of(text[start : found.start()]), words_of(text[found.end() : end])
        if any(map(is_verb, before)) and len(before) > 1 and _begins_clause(behind):
            yield start, found.start()
            start = found.end()
    yield start, end


def _begins_clause(words: list[str]) -> bool:
    return begins_with_verb(words) or (
        words[:1] != [] and words[0] in PRONOUNS | DETERMINERS and any(map(is_verb, words[1:5]))
    )


def begins_with_verb(words: list[str]) -> bool:
    """Whether words begin with a verb, so lack a subject; unknown verbs are guessed by their ending."""
    if not words or is_verb(words[0]):
        return bool(words)
    guessed = words[0].endswith(("s", "ed")) and words[0] not in PRONOUNS | DETERMINERS | PREPOSITIONS
    return guessed and len(words) > 1 and words[1] in DETERMINERS | PREPOSITIONS


def _halved(text: str, span: Span) -> Iterator[Span]:
    start, end = span
    part = text[start:end]
    if len(part) <= MAX_CHARS and len(part.split()) <= MAX_WORDS:
        yield span
        return
    middle = _middle(part)
    yield from _halved(text, (start, start + middle))
    yield from _halved(text, (start + middle, end))


def _middle(part: str) -> int:
    """Return where to cut: near the middle, before a preposition, else at a space, else between two characters."""
    half = len(part) // 2
    spaces = [at for at, char in enumerate(part) if char == " " and len(part) // 4 < at < 3 * len(part) // 4]
    openings = [at for at in spaces if bare(part[at + 1 :].split(" ", 1)[0].lower()) in PREPOSITIONS]
    if best := openings or spaces:
        return min(best, key=lambda at: abs(at - half))
    while half < len(part) - 1 and _belongs_to_last(part, half):
        half += 1
    return half


def _belongs_to_last(part: str, at: int) -> bool:
    """Whether a cut here would split what is displayed as one character."""
    char, last = part[at], part[at - 1]
    joined = unicodedata.category(char).startswith("M") or char in _JOINED or last == "\u200d"
    return joined or unicodedata.category(char) == "Sk"
