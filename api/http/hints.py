"""Hints that accompany an image, as header text."""

from __future__ import annotations

from urllib.parse import quote

MAX_WORDS = 10


def vocabulary_hint(unknown_words: list[str]) -> str | None:
    """Return a hint about words the model was not trained on, safe for a header: other alphabets percent-encoded."""
    if not unknown_words:
        return None
    more = f" and {len(unknown_words) - MAX_WORDS} more" if len(unknown_words) > MAX_WORDS else ""
    words = quote(", ".join(word[:40] for word in unknown_words[:MAX_WORDS]), safe=" ,'-")
    return f"unknown words: {words}{more}; GET /models lists the vocabulary"
