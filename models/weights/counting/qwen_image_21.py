"""A pass of Qwen-Image 2.1 that can be traced without values."""

from __future__ import annotations

from typing import Any

import torch


def qwen_image_21_pass(
    denoiser: Any,
    hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    seen_tokens: int,
) -> torch.Tensor:
    """Do what `forward` does with an image, (B, S, C), after its prompt, (B, T, D), which it would locate by values.

    The first `seen_tokens` of S belong to an edited image.
    """
    states = torch.cat([denoiser.txt_in(encoder_hidden_states), denoiser.img_in(hidden_states)], dim=1)
    text, length = encoder_hidden_states.shape[1], states.shape[1]
    of_image = torch.zeros(length, dtype=torch.bool)
    rotary = torch.empty(length, denoiser.config.attention_head_dim // 2, dtype=torch.complex64)
    # The last one is the prompt's, whose timestep is always that of the end.
    times = denoiser.time_text_embed(torch.cat([timestep, timestep[:1]]), states)
    modulation = denoiser.modulation(times)
    segments = [(0, text, True)]
    if seen_tokens:
        segments.append((text, text + seen_tokens, False))
    for block in denoiser.transformer_blocks:
        states = block(
            hidden_states=states,
            modulation=modulation,
            rotary_emb=rotary,
            target_token_mask=of_image,
            segments=segments,
        )
    output: torch.Tensor = denoiser.proj_out(denoiser.norm_out(states, times, of_image))
    return output
