"""Qwen-Image: what a mask for padded prompts costs, and the memory of decoding."""

from __future__ import annotations

import time
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

from benchmarks.gpu.setup import GIB, Setup

SIZE_PX = 1328
WORDS, FEWER_WORDS = 200, 60
"""Tokens of the two prompts."""


@torch.no_grad()
def qwen(setup: Setup) -> None:
    """Call the denoiser directly, since pipelines would need an encoder of 8 billion parameters."""
    transformer = setup.built(lambda: _transformer(setup.full), setup.bfloat)
    setup.emit(what="weights", gib=sum(parameter.nbytes for parameter in transformer.parameters()) / GIB)
    for what, count, padded in (
        ("a pass of 1", 1, False),
        ("a pass of 2, prompts of one length", 2, False),
        ("a pass of 2, padded prompts", 2, True),
    ):
        arguments = _arguments(setup, transformer, count, padded)
        transformer(**arguments)
        setup.forget()
        setup.synchronise()
        started_s = time.perf_counter()
        transformer(**arguments)
        setup.synchronise()
        setup.emit(what=what, pass_ms=1000 * (time.perf_counter() - started_s), peak_gib=setup.peak_gib())
    del transformer, arguments
    _decode(setup)


def _arguments(setup: Setup, transformer: QwenImageTransformer2DModel, count: int, padded: bool) -> dict[str, Any]:
    side = SIZE_PX // 16 if setup.full else 4
    config = transformer.config
    on_device: dict[str, Any] = {"device": setup.device, "dtype": setup.bfloat}
    lengths = torch.tensor([[WORDS], [FEWER_WORDS]], device=setup.device)
    mask = torch.arange(WORDS, device=setup.device)[None] < lengths  # (2, WORDS)
    return {
        "hidden_states": torch.randn(count, side * side, config.in_channels, **on_device),
        "timestep": torch.full((count,), 0.5, **on_device),
        "encoder_hidden_states": torch.randn(count, WORDS, config.joint_attention_dim, **on_device),
        "encoder_hidden_states_mask": mask if padded else None,
        "img_shapes": [[(1, side, side)]] * count,
        "return_dict": False,
    }


def _decode(setup: Setup) -> None:
    vae = setup.built(lambda: _vae(setup.full), setup.bfloat)
    setup.forget()
    side = SIZE_PX // 8 if setup.full else 8
    vae.decode(torch.randn(1, 16, 1, side, side, device=setup.device, dtype=setup.bfloat))
    setup.emit(what=f"decoding {SIZE_PX} x {SIZE_PX} px", peak_gib=setup.peak_gib())


def _transformer(full: bool) -> QwenImageTransformer2DModel:
    if full:
        return QwenImageTransformer2DModel()
    return QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )


def _vae(full: bool) -> AutoencoderKLQwenImage:
    if full:
        return AutoencoderKLQwenImage()
    return AutoencoderKLQwenImage(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
