"""A tiny CLIP that scores pictures against texts."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from tests.tiny.text import tiny_text_config, tiny_tokenizer

SIDE_PX = 32


def tiny_clip(folder: Path) -> Path:
    """Save a CLIP with its tokenizer and image processor into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    vision = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config=tiny_text_config(tokenizer).to_dict(),
        vision_config={**vision, "image_size": SIDE_PX, "patch_size": 8},
        projection_dim=32,
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE_PX}, crop_size=SIDE_PX).save_pretrained(folder)
    return folder
