"""A pass of HunyuanVideo 1.5 that can be traced without values."""

from __future__ import annotations

from typing import Any

import torch


def hunyuan_video_pass(
    denoiser: Any, hidden_states: torch.Tensor, timestep: torch.Tensor, encoder_hidden_states: torch.Tensor
) -> torch.Tensor:
    """Do what `forward` does, but without sorting the prompts' tokens, (B, S, D), by masks, which needs values."""
    rotary = denoiser.rope(hidden_states)
    temb = denoiser.time_embed(timestep)
    states = denoiser.x_embedder(hidden_states)
    text = denoiser.context_embedder(encoder_hidden_states, timestep)
    mask = torch.ones(text.shape[:2], dtype=torch.bool)
    for block in denoiser.transformer_blocks:
        states, text = block(states, text, temb, mask, rotary)
    output: torch.Tensor = denoiser.proj_out(denoiser.norm_out(states, temb))
    return output
