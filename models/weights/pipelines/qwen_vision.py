"""Lets the text encoders of Qwen's pipelines see the images of a prompt."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2VLProcessor, Qwen3VLProcessor


class _WithoutVideos:
    """The part of a processor for text and images.

    The original processors also handle videos, which these pipelines do not use. That part needs torchvision, which
    cannot even be imported if it does not match the build of torch.
    """

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_unused: Any
    ) -> None:
        # The processors find their parts by the parameter names in this signature.
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
    """Load Qwen3-VL's processor of a pipeline's folder."""
    processor: TextAndImageProcessor3 = TextAndImageProcessor3.from_pretrained(folder, subfolder="processor")
    return processor


def place_images(pipeline: Any) -> None:
    """Mark the image tokens for the text encoder, so that it gives them two-dimensional positions.

    transformers 5 needs the marks, which diffusers does not pass; without them, images are encoded like rows of words
    (https://github.com/huggingface/diffusers/issues/14194). The pipeline's second attribute for its processor is set
    too, since the processor was loaded after the pipeline was constructed.
    """
    pipeline.vl_processor = pipeline.processor
    pipeline.text_encoder.register_forward_pre_hook(_with_token_types, with_kwargs=True)


def _with_token_types(encoder: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    ids: torch.Tensor = kwargs["input_ids"]  # (B, S)
    types = (ids == encoder.config.image_token_id).int()
    return args, {"mm_token_type_ids": types, **kwargs}
