"""Tiny IP-Adapters for the tiny Stable Diffusions and FLUX, Redux, and LoRAs."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FluxPriorReduxPipeline, FluxTransformer2DModel, UNet2DConditionModel
from diffusers.pipelines.flux import ReduxImageEncoder
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from models.catalogue.addons import IpAdapterSpec, LoraSpec
from models.catalogue.sources import Source

EMBEDDING = 32
IMAGE_TOKENS = 4
"""diffusers knows an IP-Adapter with so many by its layout (loaders/unet.py)."""


def tiny_ip_adapter(checkpoint: Path, folder: Path) -> IpAdapterSpec:
    """Save an IP-Adapter for a checkpoint and its vision model into `folder`, and return it as a catalogue names it."""
    _vision_model().save_pretrained(folder / "image_encoder")
    is_flux = (checkpoint / "transformer").is_dir()
    weights = _flux_ip_adapter_weights(_transformer(checkpoint)) if is_flux else _ip_adapter_weights(_unet(checkpoint))
    save_file(weights, folder / "ip_adapter.safetensors")
    return IpAdapterSpec(
        source=Source(path=folder, file="ip_adapter.safetensors"),
        image_encoder=Source(path=folder, subfolder="image_encoder"),
    )


def tiny_redux(checkpoint: Path, folder: Path) -> IpAdapterSpec:
    """Save Redux for a FLUX checkpoint into `folder`, and return it as a catalogue names it."""
    torch.manual_seed(0)
    width = _transformer(checkpoint).config.joint_attention_dim
    side_px, patch_px = 32, 8
    vision = SiglipVisionConfig(
        hidden_size=EMBEDDING,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=side_px,
        patch_size=patch_px,
    )
    FluxPriorReduxPipeline(
        image_encoder=SiglipVisionModel(vision),
        feature_extractor=SiglipImageProcessor(size={"height": side_px, "width": side_px}),
        image_embedder=ReduxImageEncoder(redux_dim=EMBEDDING, txt_in_features=width),
    ).save_pretrained(folder / "redux")
    return IpAdapterSpec(source=Source(path=folder / "redux"), scale=1.0)


def tiny_lora(checkpoint: Path, file: Path) -> LoraSpec:
    """Save a LoRA of random weights for a checkpoint's UNet, as the training scripts of diffusers do."""
    torch.manual_seed(5)
    unet = _unet(checkpoint)
    unet.add_adapter(LoraConfig(r=3, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    # Without lora_alpha in the file, the loader takes the rank.
    layers = {f"unet.{name}": weight.contiguous() for name, weight in get_peft_model_state_dict(unet).items()}
    save_file(layers, file)
    return LoraSpec(source=Source(path=file))


def _vision_model() -> CLIPVisionModelWithProjection:
    torch.manual_seed(0)
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=EMBEDDING,
            image_size=32,
            patch_size=8,
        )
    )


def _flux_ip_adapter_weights(transformer: FluxTransformer2DModel) -> dict[str, torch.Tensor]:
    """In the layout of XLabs: only the blocks of two streams attend to the reference."""
    width = transformer.config.joint_attention_dim
    weights = _projection("ip_adapter_proj_model", width)
    for number in range(transformer.config.num_layers):
        for projection in ("k_proj", "v_proj"):
            layer = f"double_blocks.{number}.processor.ip_adapter_double_stream_{projection}"
            weights[f"{layer}.weight"] = torch.randn(transformer.inner_dim, width) / width**0.5
            weights[f"{layer}.bias"] = torch.randn(transformer.inner_dim)
    return weights


def _projection(prefix: str, width: int) -> dict[str, torch.Tensor]:
    """From the embedding of an image to tokens of this width."""
    return {
        f"{prefix}.proj.weight": torch.randn(IMAGE_TOKENS * width, EMBEDDING),
        f"{prefix}.proj.bias": torch.randn(IMAGE_TOKENS * width),
        f"{prefix}.norm.weight": torch.ones(width),
        f"{prefix}.norm.bias": torch.zeros(width),
    }


def _ip_adapter_weights(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """In the published layout: attention layers count in the order of the UNet's, self-attention included."""
    width = unet.config.cross_attention_dim
    weights = _projection("image_proj", width)
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            keys = unet.get_submodule(name.removesuffix(".processor")).to_k
            for projection in ("to_k_ip", "to_v_ip"):
                weights[f"ip_adapter.{number}.{projection}.weight"] = torch.randn(keys.out_features, width) / width**0.5
    return weights


def _unet(checkpoint: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet")


def _transformer(checkpoint: Path) -> FluxTransformer2DModel:
    return FluxTransformer2DModel.from_pretrained(checkpoint, subfolder="transformer")
