"""The tokenizers of language models that encode prompts."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer


def load_tokenizer(folder: str) -> Any:
    """Load the tokenizer of a pipeline's folder without the processor around it.

    Prompts are text only; the processor is for images and videos in a chat, and needs torchvision.
    """
    return AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")
