"""How much of a prompt a model's text encoders read; pipelines silently drop the rest."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from threading import Lock
from typing import Any

from core.generation.hints import PromptReading, cut_hint, joined_hints
from core.generation.prompt_syntax import plain_text
from core.generation.request import GenerationRequest
from core.generation.tuning import PROMPTS
from models.catalogue.families.base import MAX_ENCODED_TOKENS, PromptWindow
from models.weights.loading import LoadedModel

PROCESSOR = "processor"
"""The component with the tokenizer, for language models that also see images."""


class PromptLimits:
    """The prompt windows of one model; usable from any thread."""

    def __init__(self, model: LoadedModel) -> None:
        # SD 3 may lack the encoder with the longest window.
        self._windows = [window for window in model.family.prompt_windows if model.components.get(window.tokenizer)]
        self._many_windows = bool(model.family.clip_encoders)
        self._text_tokens = model.family.text_tokens
        self._components = model.components
        # Beside a processor, a `tokenizer` is either the same one or reads only part of the prompt.
        self._usual = PROCESSOR if model.components.get(PROCESSOR) else "tokenizer"
        self._tokenizers: dict[str, Any] = {}
        self._lock = Lock()

    def read(self, request: GenerationRequest) -> PromptReading:
        """Return how the model reads a request's prompts, for the caller. Blocks briefly."""
        with self._lock:
            texts = {field: plain_text(getattr(request, field), request.prompt_syntax) for field in PROMPTS}
            windows = {window.tokenizer: self._tokens(window, request) for window in self._windows}
            hint = joined_hints(*(self._hint(field, text, windows) for field, text in texts.items()))
            # For a model without windows, which reads whole prompts, the usual tokenizer counts.
            widest = max(windows, key=windows.__getitem__, default=self._usual)
            return PromptReading(len(self._offsets(widest, texts["prompt"])), hint)

    def _hint(self, field: str, text: str, windows: Mapping[str, int]) -> str | None:
        """`windows` has the number of tokens that each tokenizer's encoder reads."""
        if all(len(text.encode()) <= tokens for tokens in windows.values()):
            return None
        # Only text that no encoder reads is ignored.
        start, tokens = max((self._end_of(name, text, tokens), tokens) for name, tokens in windows.items())
        ignored = text[start:].strip()
        return cut_hint(field, tokens, ignored) if ignored else None

    def _end_of(self, tokenizer: str, text: str, tokens: int) -> int:
        """Return how many characters of a text the first `tokens` tokens cover."""
        offsets = self._offsets(tokenizer, text)
        return offsets[tokens][0] if len(offsets) > tokens else len(text)

    def _offsets(self, tokenizer: str, text: str) -> list[tuple[int, int]]:
        """Return where in a text each token begins and ends."""
        read = self._tokenizer(tokenizer)(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets: list[tuple[int, int]] = read["offset_mapping"]
        return offsets

    def _tokens(self, window: PromptWindow, request: GenerationRequest) -> int:
        if window.tokens is not None:
            length = self._text_tokens
            asked = request.max_sequence_length if length else None
            return window.tokens if length is None or asked is None else window.tokens - length.usual + asked
        tokenizer = self._components[window.tokenizer]
        tokens: int = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        return tokens * (MAX_ENCODED_TOKENS // tokenizer.model_max_length if self._many_windows else 1)

    def _tokenizer(self, name: str) -> Any:
        """Return a copy, since calls change a tokenizer's state, and the engine's thread uses the pipeline's own."""
        if name not in self._tokenizers:
            own = self._components[name]
            self._tokenizers[name] = copy.deepcopy(own.tokenizer if name == PROCESSOR else own)
        return self._tokenizers[name]
