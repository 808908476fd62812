"""Words and phrases that prompts may not have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import StartError

_SCRIPTS_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Thai, Lao, Burmese, Japanese and Chinese, where no spaces mark the words."""
_UNSEEN = ("Mn", "Cf")
"""Accents, and zero-width characters that would split a word."""


@dataclass(frozen=True)
class BlockedWords:
    """Compares whole words, ignoring case, accents and what stands between the words."""

    _phrases: tuple[str, ...]

    @classmethod
    def of(cls, lines: Iterable[str]) -> BlockedWords:
        """Take one word or phrase a line; empty lines and those that begin with # are comments."""
        phrases = (_phrase(line) for line in lines if not line.lstrip().startswith("#"))
        return cls(tuple(phrase for phrase in phrases if phrase.strip()))

    def are_in(self, text: str) -> bool:
        words = f" {_words(text)} "
        return any(phrase in words for phrase in self._phrases)


def read_blocked_words(file: Path | None) -> BlockedWords:
    """Read the operator's list. Raises StartError when there is none."""
    if file is None:
        raise StartError("JUBAKO_SAFETY checks prompts, which needs a file of words: JUBAKO_BLOCKED_WORDS")
    try:
        words = BlockedWords.of(file.expanduser().read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"JUBAKO_BLOCKED_WORDS: {file} cannot be read: {error}") from error
    if words == BlockedWords(()):
        raise StartError(f"JUBAKO_BLOCKED_WORDS: {file} has no words")
    return words


def _phrase(line: str) -> str:
    words = _words(line)
    return words if _SCRIPTS_WITHOUT_SPACES.search(words) else f" {words} "


def _words(text: str) -> str:
    """Return only the words, separated by single spaces, without case and accents: 'creme brulee'."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = (char for char in decomposed if unicodedata.category(char) not in _UNSEEN)
    return " ".join("".join(char if char.isalnum() else " " for char in letters).split())
