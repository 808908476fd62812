"""A prompt as chunks, each as long as a CLIP encoder's window, with a weight for every token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from core.generation.prompt_syntax import Fragment, PromptSyntax, prompt_parts
from models.catalogue.families.base import MAX_ENCODED_TOKENS


@dataclass(frozen=True)
class Chunk:
    """One window's tokens, including those that begin, end and pad it, and their weights; both of equal length."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def is_weighted(self) -> bool:
        return any(weight != 1 for weight in self.weights)


def chunks_of(pipeline: Any, tokenizer: Any, prompt: str, syntax: PromptSyntax) -> list[Chunk]:
    """Return the chunks of a prompt, at least one; each part between BREAKs begins a new chunk.

    There are at most as many as MAX_ENCODED_TOKENS allows.
    """
    parts = prompt_parts(prompt) if syntax is PromptSyntax.A1111 else [[Fragment(prompt)]]
    chunks = (chunk for part in parts for chunk in _chunks(pipeline, tokenizer, part))
    return list(islice(chunks, MAX_ENCODED_TOKENS // tokenizer.model_max_length))


def empty_chunk(tokenizer: Any) -> Chunk:
    return _framed(tokenizer, [])


def window_of(tokenizer: Any) -> int:
    """Return how many tokens of a text one chunk holds."""
    room: int = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
    return room


def token_ids(pipeline: Any, tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text as the pipeline reads it, including embeddings' words (textual inversions)."""
    converted = pipeline.maybe_convert_prompt(text, tokenizer)
    ids: list[int] = tokenizer(converted, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids


def _chunks(pipeline: Any, tokenizer: Any, part: Sequence[Fragment]) -> Iterator[Chunk]:
    tokens = [(token, fragment.weight) for fragment in part for token in token_ids(pipeline, tokenizer, fragment.text)]
    room = window_of(tokenizer)
    for first in range(0, max(len(tokens), 1), room):
        yield _framed(tokenizer, tokens[first : first + room])


def _framed(tokenizer: Any, content: Sequence[tuple[int, float]]) -> Chunk:
    padding = window_of(tokenizer) - len(content)
    return Chunk(
        (
            tokenizer.bos_token_id,
            *(token for token, _ in content),
            tokenizer.eos_token_id,
            *[tokenizer.pad_token_id] * padding,
        ),
        (1.0, *(weight for _, weight in content), 1.0, *[1.0] * padding),
    )
