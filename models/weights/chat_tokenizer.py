"""The tokenizer of FLUX.2 dev's text encoder."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer


def load_tokenizer(folder: str) -> Any:
    """Load the tokenizer of a pipeline's folder without the processor around it.

    Prompts are texts: the processor is for the images of a chat, and that of Mistral needs torchvision.
    """
    return AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")
