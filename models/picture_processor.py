"""What Qwen's editing pipelines prepare their prompts with, less the part that nobody asks."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2VLProcessor


class PictureProcessor(Qwen2VLProcessor):  # type: ignore[misc]
    """Qwen2-VL's processor for text and pictures.

    The original is also for videos, which editing pipelines never give it; that part needs torchvision, and a
    torchvision that does not match the build of torch cannot even be imported.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_unused: Any
    ) -> None:
        # The base class takes its parts from the names in this signature.
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
