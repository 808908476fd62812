"""Tiny ControlNets for the tiny checkpoints of all families that take one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    FluxControlNetModel,
    FluxTransformer2DModel,
    ModelMixin,
    QwenImageControlNetModel,
    QwenImageTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageControlNetModel,
    ZImageTransformer2DModel,
)
from torch import nn

from models.catalogue.addons import ControlNetSpec
from models.catalogue.sources import Source
from tests.tiny.weights import strengthen

KINDS = ("canny", "depth")
MODES = 3
DEPTH_MODE = 1
"""Of FLUX's ControlNet for depth, which has several modes; the one for edges has none."""


def tiny_controlnets(checkpoint: Path, folder: Path, net_class: str = "ControlNetModel") -> dict[str, ControlNetSpec]:
    """Save two ControlNets of a diffusers class for a checkpoint into `folder`; return them as a catalogue has them."""
    for seed, kind in enumerate(KINDS, start=1):
        torch.manual_seed(seed)
        _MAKERS[net_class](checkpoint, kind).save_pretrained(folder / kind)
    return {kind: ControlNetSpec(source=Source(path=folder / kind), mode=_mode(net_class, kind)) for kind in KINDS}


def _mode(net_class: str, kind: str) -> int | None:
    return DEPTH_MODE if (net_class, kind) == ("FluxControlNetModel", "depth") else None


def _of_unet(checkpoint: Path, _kind: str) -> ControlNetModel:
    unet = UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    # These are zero before training, which would make the network have no effect.
    for layer in (net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block, *net.controlnet_down_blocks):
        nn.init.normal_(layer.weight, std=0.2)
    return net


def _flux(checkpoint: Path, kind: str) -> FluxControlNetModel:
    config = _config(FluxTransformer2DModel, checkpoint)
    modes = {} if _mode("FluxControlNetModel", kind) is None else {"num_mode": MODES}
    return strengthen(FluxControlNetModel.from_config({**config, "num_layers": 1, "num_single_layers": 1, **modes}))


def _qwen_image(checkpoint: Path, _kind: str) -> QwenImageControlNetModel:
    # Two, as many as the samples of some passes.
    return strengthen(QwenImageControlNetModel.from_config(_config(QwenImageTransformer2DModel, checkpoint)))


def _sd3(checkpoint: Path, kind: str) -> SD3ControlNetModel:
    """Return one like InstantX's for edges, and one for depth like those that Stability AI published for 3.5 large."""
    config = _config(SD3Transformer2DModel, checkpoint)
    shrunk = {"use_pos_embed": False, "joint_attention_dim": None, "force_zeros_for_pooled_projection": False}
    return strengthen(
        SD3ControlNetModel.from_config({**config, "num_layers": 1, **(shrunk if kind == "depth" else {})})
    )


def _z_image(checkpoint: Path, kind: str) -> ZImageControlNetModel:
    """Return one like the first that Alibaba published for edges, and one like a later for depth."""
    config = _config(ZImageTransformer2DModel, checkpoint)
    own = ("dim", "n_refiner_layers", "n_heads", "n_kv_heads")
    later = {
        "control_in_dim": 2 * config["in_channels"] + 1,
        "add_control_noise_refiner": "control_noise_refiner",
        "control_refiner_layers_places": list(range(config["n_refiner_layers"])),
    }
    return strengthen(
        ZImageControlNetModel(
            **{name: config[name] for name in own},
            **{"control_in_dim": config["in_channels"], **(later if kind == "depth" else {})},
            control_layers_places=list(range(config["n_layers"])),
        )
    )


def _config(transformer: Any, checkpoint: Path) -> dict[str, Any]:
    config = dict(transformer.load_config(checkpoint, subfolder="transformer"))
    return {name: value for name, value in config.items() if not name.startswith("_")}


_MAKERS: Mapping[str, Callable[[Path, str], ModelMixin]] = {
    "ControlNetModel": _of_unet,
    "FluxControlNetModel": _flux,
    "QwenImageControlNetModel": _qwen_image,
    "SD3ControlNetModel": _sd3,
    "ZImageControlNetModel": _z_image,
}
