"""What Qwen's editing pipelines need beside diffusers, so that their text encoder sees the pictures of a prompt."""

from __future__ import annotations

from typing import Any

import torch
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


def place_pictures(pipeline: Any) -> None:
    """Let the text encoder know which tokens are pictures, so that it gives these positions in two dimensions.

    Since transformers 5 it has to be told, and diffusers does not tell it: edits are then drawn after an encoding in
    which pictures are rows of words (https://github.com/huggingface/diffusers/issues/14194).
    """
    pipeline.text_encoder.register_forward_pre_hook(_with_token_types, with_kwargs=True)


def _with_token_types(encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    ids: torch.Tensor = kwargs["input_ids"]  # (B, S)
    types = (ids == encoder.config.image_token_id).int()
    return args, {"mm_token_type_ids": types, **kwargs}
