"""Tiny Qwen-Image, Qwen-Image-Edit, Qwen-Image-Edit-Plus and Qwen-Image-Layered."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageLayeredPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from diffusers.pipelines.qwenimage import (
    pipeline_qwenimage_edit,
    pipeline_qwenimage_edit_inpaint,
    pipeline_qwenimage_edit_plus,
    pipeline_qwenimage_layered,
)
from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
)

from models.weights.pipelines.qwen_vision import TextAndImageProcessor
from tests.tiny.text import tiny_qwen_tokenizer
from tests.tiny.weights import strengthen

if TYPE_CHECKING:
    import pytest

LATENT_CHANNELS = 4
TEXT_WIDTH = 32


def tiny_qwen_image(folder: Path) -> Path:
    """Save a QwenImagePipeline into `folder` and return it."""
    QwenImagePipeline(**_components(tiny_qwen_tokenizer())).save_pretrained(folder)
    return folder


def tiny_qwen_image_edit(folder: Path) -> Path:
    """Save a QwenImageEditPipeline into `folder` and return it."""
    return _save_with_processor(QwenImageEditPipeline, folder)


def tiny_qwen_image_edit_plus(folder: Path) -> Path:
    """Save a QwenImageEditPlusPipeline, whose input pictures are modulated as clean like those of Edit-2511."""
    return _save_with_processor(QwenImageEditPlusPipeline, folder, zero_cond_t=True)


def tiny_qwen_image_layered(folder: Path) -> Path:
    """Save a QwenImageLayeredPipeline, whose autoencoder knows transparency, into `folder` and return it."""
    layers = {"use_additional_t_cond": True, "use_layer3d_rope": True}
    return _save_with_processor(QwenImageLayeredPipeline, folder, _transparent_vae(), **layers)


def shrink_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let edits look at pictures of 128x128 pixels, not of a megapixel, which would take a CPU seconds each.

    Layers have 64x64 pixels for 640x640.
    """
    edits = (pipeline_qwenimage_edit, pipeline_qwenimage_edit_inpaint, pipeline_qwenimage_edit_plus)
    for pipelines in (*edits, pipeline_qwenimage21, pipeline_qwenimage_layered):
        fit = pipelines.calculate_dimensions
        monkeypatch.setattr(pipelines, "calculate_dimensions", partial(_smaller, fit))


def _smaller(fit: Callable[[float, float], tuple[int, ...]], area_px: float, ratio: float) -> tuple[int, ...]:
    return fit(area_px / 64, ratio)


def _save_with_processor(
    pipeline: Any, folder: Path, vae: AutoencoderKLQwenImage | None = None, **transformer: Any
) -> Path:
    tokenizer = tiny_qwen_tokenizer()
    # Four patches a picture.
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28})
    processor = TextAndImageProcessor(images, tokenizer)
    components = _components(tokenizer, vae, **transformer)
    pipeline(**components, processor=processor).save_pretrained(folder)
    index = folder / "model_index.json"
    written = {**json.loads(index.read_text()), "processor": ["transformers", "Qwen2VLProcessor"]}
    index.write_text(json.dumps(written))
    return folder


def _components(
    tokenizer: Qwen2Tokenizer, vae: AutoencoderKLQwenImage | None = None, **transformer: Any
) -> dict[str, Any]:
    torch.manual_seed(0)
    vae = vae or _vae()
    components = {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae,
        "text_encoder": tiny_qwen_vl(tokenizer),
        "tokenizer": tokenizer,
        "transformer": QwenImageTransformer2DModel(
            in_channels=4 * vae.config.z_dim,
            out_channels=vae.config.z_dim,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TEXT_WIDTH,
            axes_dims_rope=(4, 6, 6),
            **transformer,
        ),
    }
    strengthen(components["vae"])
    strengthen(components["transformer"])
    return components


def _vae(**others: Any) -> AutoencoderKLQwenImage:
    """Return an autoencoder that shrinks 8 times."""
    fields: dict[str, Any] = {
        "base_dim": 8,
        "z_dim": LATENT_CHANNELS,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "latents_mean": [-0.2, 0.1, 0.0, 0.3],
        "latents_std": [1.5, 0.8, 1.0, 1.2],
    }
    return AutoencoderKLQwenImage(**{**fields, **others})


def _transparent_vae() -> AutoencoderKLQwenImage:
    """Return one of RGBA; what has as many channels as its latents, the pipeline takes for latents."""
    mean, std = [-0.2, 0.1, 0.0, 0.3, 0.1], [1.5, 0.8, 1.0, 1.2, 1.1]
    return _vae(input_channels=4, z_dim=len(mean), latents_mean=mean, latents_std=std)


def tiny_qwen_vl(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 37,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 37,
            "num_heads": 2,
            "out_hidden_size": TEXT_WIDTH,
            "fullatt_block_indexes": [0],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()
