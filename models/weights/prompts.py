"""How much of a prompt a model's text encoders read: what is behind that, pipelines drop without an error."""

from __future__ import annotations

import copy
from threading import Lock
from typing import Any

from core.hints import PromptReading, cut_hint, joined
from core.request import GenerationRequest
from models.catalogue.families.base import PromptWindow
from models.weights.loading import LoadedModel


class PromptLimits:
    """The prompt windows of one model; usable from any thread."""

    def __init__(self, model: LoadedModel) -> None:
        # SD 3 may be without its longest window.
        self._windows = [window for window in model.family.prompt_windows if model.components.get(window.tokenizer)]
        self._components = model.components
        self._tokenizers: dict[str, Any] = {}
        self._lock = Lock()

    def read(self, request: GenerationRequest) -> PromptReading:
        """Return what the model will make of a request's prompts, for the caller. Blocks for a moment."""
        fields = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        with self._lock:
            hint = joined(*(self._hint(field, text) for field, text in fields.items() if self._may_be_cut(text)))
            return PromptReading(len(self._offsets(self._widest, request.prompt)), hint)

    @property
    def _widest(self) -> PromptWindow:
        """The window that reads most of a prompt; of a model that reads all of it, the usual tokenizer."""
        return max(self._windows, key=self._tokens, default=PromptWindow())

    def _may_be_cut(self, text: str) -> bool:
        """Whether a prompt has more bytes than a window has tokens."""
        return any(len(text.encode()) > self._tokens(window) for window in self._windows)

    def _hint(self, field: str, text: str) -> str | None:
        # What one encoder does not read, another may.
        start, tokens = max((self._end_of(window, text), self._tokens(window)) for window in self._windows)
        ignored = text[start:].strip()
        return cut_hint(field, tokens, ignored) if ignored else None

    def _end_of(self, window: PromptWindow, text: str) -> int:
        """Return how many characters of a text are within a window."""
        offsets, tokens = self._offsets(window, text), self._tokens(window)
        return offsets[tokens][0] if len(offsets) > tokens else len(text)

    def _offsets(self, window: PromptWindow, text: str) -> list[tuple[int, int]]:
        """Return where each token of a text begins and ends in it."""
        read = self._tokenizer(window.tokenizer)(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        offsets: list[tuple[int, int]] = read["offset_mapping"]
        return offsets

    def _tokens(self, window: PromptWindow) -> int:
        if window.tokens is not None:
            return window.tokens
        tokenizer = self._components[window.tokenizer]
        tokens: int = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add()
        return tokens

    def _tokenizer(self, name: str) -> Any:
        """Return a copy: each call sets the limits of a tokenizer, and the engine's thread uses the pipeline's own."""
        if name not in self._tokenizers:
            self._tokenizers[name] = copy.deepcopy(self._components[name])
        return self._tokenizers[name]
