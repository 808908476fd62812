"""Tiny Kandinsky 5."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky5T2VPipeline,
    Kandinsky5Transformer3DModel,
)
from transformers import CLIPTextModel

from tests.tiny.images.qwen_image import TEXT_WIDTH, tiny_qwen_vl
from tests.tiny.text import tiny_qwen_tokenizer, tiny_text_config, tiny_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4


def tiny_kandinsky(folder: Path) -> Path:
    """Save a Kandinsky5T2VPipeline into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer, clip_tokenizer = tiny_qwen_tokenizer(), tiny_tokenizer()
    # Letter by letter, the system message alone would be longer than what is read.
    tokenizer.add_tokens(sorted(set(Kandinsky5T2VPipeline(*[None] * 7).prompt_template.split()[2:-1])))
    clip_config = tiny_text_config(clip_tokenizer)
    clip_config.max_position_embeddings = 77
    Kandinsky5T2VPipeline(
        transformer=strengthen(_transformer()),
        vae=strengthen(_vae()),
        text_encoder=tiny_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModel(clip_config),
        tokenizer_2=clip_tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    ).save_pretrained(folder)
    # As the published index says, whose processor is more than the pipeline needs.
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "tokenizer": ["transformers", "Qwen2VLProcessor"]}))
    return folder


def _transformer() -> Kandinsky5Transformer3DModel:
    return Kandinsky5Transformer3DModel(
        in_visual_dim=LATENT_CHANNELS,
        out_visual_dim=LATENT_CHANNELS,
        in_text_dim=TEXT_WIDTH,
        in_text_dim2=32,
        time_dim=16,
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 2, 2),
        visual_cond=True,
    )


def _vae() -> AutoencoderKLHunyuanVideo:
    """Return an autoencoder that shrinks 4 x 8 x 8 times."""
    return AutoencoderKLHunyuanVideo(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
