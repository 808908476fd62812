"""Tiny LTX-2: as the first one is, and as 2.3 is, whose prompts and noise levels take other ways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder, LTX2VocoderWithBWE
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, GemmaTokenizer

from models.catalogue.families.videos.ltx2 import GUIDANCE_2_3
from tests.tiny.text import tiny_gemma_tokenizer
from tests.tiny.videos.ltx import stretched_scheduler
from tests.tiny.weights import strengthen

if TYPE_CHECKING:
    import pytest

LATENT_CHANNELS = 8
MEL_BINS = 8
SOUND_CHANNELS = 2
"""Of latents, each with a quarter of the mel bins."""
TEXT_WIDTH, TEXT_LAYERS = 16, 2
HEADS, VIDEO_HEAD_WIDTH, SOUND_HEAD_WIDTH = 2, 16, 8
BLOCKS = 2
RATE_HZ = 16000


def perturb_last_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let guidance leave out the attention of the last block.

    With that of block 28, which the real model's leaves out, all blocks before it would be computed too.
    """
    monkeypatch.setitem(GUIDANCE_2_3, "spatio_temporal_guidance_blocks", [BLOCKS - 1])


def tiny_ltx2(folder: Path) -> Path:
    """Save an LTX2Pipeline into `folder` and return it; its autoencoder shrinks videos 8 x 32 x 32 times."""
    return _save(folder, stretched_scheduler(), late=False)


def tiny_ltx2_distilled(folder: Path) -> Path:
    return _save(folder, FlowMatchEulerDiscreteScheduler(), late=False)


def tiny_ltx2_3(folder: Path) -> Path:
    return _save(folder, stretched_scheduler(), late=True)


def tiny_ltx2_3_distilled(folder: Path) -> Path:
    return _save(folder, FlowMatchEulerDiscreteScheduler(), late=True)


def _save(folder: Path, scheduler: FlowMatchEulerDiscreteScheduler, *, late: bool) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_gemma_tokenizer()
    LTX2Pipeline(
        scheduler=scheduler,
        vae=strengthen(_vae()),
        audio_vae=strengthen(_audio_vae()),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        connectors=strengthen(_connectors(late=late)),
        transformer=strengthen(_transformer(late=late)),
        vocoder=_heard(_vocoder(late=late)),
    ).save_pretrained(folder)
    return folder


def _transformer(*, late: bool) -> LTX2VideoTransformer3DModel:
    sound_width = HEADS * SOUND_HEAD_WIDTH
    return LTX2VideoTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=VIDEO_HEAD_WIDTH,
        cross_attention_dim=HEADS * VIDEO_HEAD_WIDTH,
        audio_in_channels=SOUND_CHANNELS * MEL_BINS // 4,
        audio_out_channels=SOUND_CHANNELS * MEL_BINS // 4,
        audio_num_attention_heads=HEADS,
        audio_attention_head_dim=SOUND_HEAD_WIDTH,
        audio_cross_attention_dim=sound_width,
        num_layers=BLOCKS,
        caption_channels=TEXT_WIDTH,
        rope_type="split",
        gated_attn=late,
        cross_attn_mod=late,
        audio_gated_attn=late,
        audio_cross_attn_mod=late,
        use_prompt_embeddings=not late,
        perturbed_attn=late,
    )


def _connectors(*, late: bool) -> LTX2TextConnectors:
    video_width = VIDEO_HEAD_WIDTH if late else TEXT_WIDTH // HEADS
    sound_width = SOUND_HEAD_WIDTH if late else TEXT_WIDTH // HEADS
    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_LAYERS + 1,
        video_connector_num_attention_heads=HEADS,
        video_connector_attention_head_dim=video_width,
        video_connector_num_layers=1,
        video_gated_attn=late,
        audio_connector_num_attention_heads=HEADS,
        audio_connector_attention_head_dim=sound_width,
        audio_connector_num_layers=1,
        audio_gated_attn=late,
        rope_type="split",
        per_modality_projections=late,
        video_hidden_dim=HEADS * VIDEO_HEAD_WIDTH,
        audio_hidden_dim=HEADS * SOUND_HEAD_WIDTH,
        proj_bias=late,
    )


def _vae() -> AutoencoderKLLTX2Video:
    return AutoencoderKLLTX2Video(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        # As 2.3 has it: a single latent has nothing beside it that could be reflected.
        decoder_spatial_padding_mode="zeros",
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )


def _audio_vae() -> AutoencoderKLLTX2Audio:
    return AutoencoderKLLTX2Audio(
        base_channels=SOUND_CHANNELS * MEL_BINS // 4,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        resolution=32,
        latent_channels=SOUND_CHANNELS,
        sample_rate=RATE_HZ,
        mel_bins=MEL_BINS,
    )


def _vocoder(*, late: bool) -> LTX2Vocoder | LTX2VocoderWithBWE:
    common: dict[str, Any] = {
        "in_channels": 2 * MEL_BINS,
        "hidden_channels": 16,
        "upsample_kernel_sizes": [16, 10],
        "upsample_factors": [16, 10],
        "resnet_kernel_sizes": [3],
        "resnet_dilations": [[1, 3]],
    }
    if not late:
        return LTX2Vocoder(**common, output_sampling_rate=RATE_HZ)
    return LTX2VocoderWithBWE(
        **common,
        bwe_in_channels=2 * MEL_BINS,
        bwe_hidden_channels=16,
        bwe_upsample_kernel_sizes=[16, 15],
        bwe_upsample_factors=[16, 15],
        bwe_resnet_kernel_sizes=[3],
        bwe_resnet_dilations=[[1, 3]],
        num_mel_channels=MEL_BINS,
        input_sampling_rate=RATE_HZ,
        output_sampling_rate=3 * RATE_HZ,
    )


def _heard(vocoder: LTX2Vocoder | LTX2VocoderWithBWE) -> LTX2Vocoder | LTX2VocoderWithBWE:
    """Draw new weights that let spectrograms through, and transforms that a checkpoint brings along."""
    for layer in vocoder.modules():
        if isinstance(layer, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            torch.nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
    for name, buffer in vocoder.named_buffers():
        if "basis" in name:
            torch.nn.init.uniform_(buffer, 0, 0.1)
    return vocoder.eval()


def _text_encoder(tokenizer: GemmaTokenizer) -> Gemma3ForConditionalGeneration:
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": TEXT_LAYERS,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
    }
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 28,
        "patch_size": 14,
    }
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision)).eval()
