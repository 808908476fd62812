"""What Qwen's pipelines need beside diffusers, so that their text encoder sees the images of a prompt."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2VLProcessor, Qwen3VLProcessor


class _WithoutVideos:
    """The part of a processor that is for text and images.

    The originals are also for videos, which these pipelines never give them; that part needs torchvision, and a
    torchvision that does not match the build of torch cannot even be imported.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_unused: Any
    ) -> None:
        # The processors take their parts from the names in this signature.
        super().__init__(image_processor, tokenizer, chat_template=chat_template)  # type: ignore[call-arg]


class TextAndImageProcessor(_WithoutVideos, Qwen2VLProcessor):  # type: ignore[misc]
    """Qwen2-VL's."""


class TextAndImageProcessor3(_WithoutVideos, Qwen3VLProcessor):  # type: ignore[misc]
    """Qwen3-VL's."""


def load_processor(folder: str) -> TextAndImageProcessor:
    """Load the processor of a pipeline's folder."""
    processor: TextAndImageProcessor = TextAndImageProcessor.from_pretrained(folder, subfolder="processor")
    return processor


def load_processor_3(folder: str) -> TextAndImageProcessor3:
    """Load the processor of a pipeline's folder that is Qwen3-VL's."""
    processor: TextAndImageProcessor3 = TextAndImageProcessor3.from_pretrained(folder, subfolder="processor")
    return processor


def place_images(pipeline: Any) -> None:
    """Mark the image tokens for the text encoder, so that it gives these positions in two dimensions.

    The pipeline's second name for its processor is set too, since that came only after it was made.

    transformers 5 needs the marks and diffusers does not pass them; without them, images are encoded as rows of words
    (https://github.com/huggingface/diffusers/issues/14194).
    """
    pipeline.vl_processor = pipeline.processor
    pipeline.text_encoder.register_forward_pre_hook(_with_token_types, with_kwargs=True)


def _with_token_types(encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    ids: torch.Tensor = kwargs["input_ids"]  # (B, S)
    types = (ids == encoder.config.image_token_id).int()
    return args, {"mm_token_type_ids": types, **kwargs}
