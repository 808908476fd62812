"""The transformer, and the pipeline it works in."""

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from transformers import CLIPModel, CLIPTextModelWithProjection

CHECKPOINT = Path(__file__).with_name("checkpoint")
"""The parts that are stored for this miniature: transformer, scheduler, and the tokenizers, which are small."""
FIRST = Path(__file__).parents[1] / "checkpoint"
"""The first miniature, whose other parts this one shares."""
WIDTH, LAYERS, HEADS = 192, 4, 3
TEXT_TOKENS = 1
"""Tokens of the missing T5: the pipeline appends this many rows of zeros to CLIP's 32, by default 256."""


def build_transformer() -> SD3Transformer2DModel:
    """A fresh transformer of 5.2 million parameters for 16x16 latents, which it sees as 64 patches of 2x2."""
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        # The features of both text encoders side by side, each 128 wide.
        joint_attention_dim=256,
        pooled_projection_dim=256,
        caption_projection_dim=WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )


def load_text_encoder() -> CLIPTextModelWithProjection:
    """The first miniature's text tower, with the projection that its own pipeline does not use."""
    clip = CLIPModel.from_pretrained(FIRST / "clip", dtype=torch.float32)
    encoder = CLIPTextModelWithProjection(clip.config.text_config)
    tower = {f"text_model.{name}": value for name, value in clip.text_model.state_dict().items()}
    encoder.load_state_dict({**tower, "text_projection.weight": clip.text_projection.weight}, strict=False)
    return encoder.eval().requires_grad_(False)


def build_pipeline(transformer: SD3Transformer2DModel) -> StableDiffusion3Pipeline:
    """A pipeline around a transformer; one text encoder serves as both of its CLIPs."""
    tokenizer = StableDiffusionPipeline.from_pretrained(FIRST, torch_dtype=torch.float32, safety_checker=None).tokenizer
    encoder = load_text_encoder()
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=AutoencoderKL.from_pretrained(FIRST / "vae", torch_dtype=torch.float32).eval().requires_grad_(False),
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(transformer: SD3Transformer2DModel, folder: Path = CHECKPOINT) -> None:
    """Write a pipeline in diffusers layout, without the weights that are the first miniature's.

    The transformer is cast to half precision, and stays so.
    """
    pipeline = build_pipeline(transformer.half())
    pipeline.save_config(folder)
    for name in ("transformer", "scheduler"):
        getattr(pipeline, name).save_pretrained(folder / name)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(FIRST / "tokenizer", folder / name, dirs_exist_ok=True)


def load_dit(folder: Path = CHECKPOINT) -> StableDiffusion3Pipeline:
    """Load what `export` wrote, in float32."""
    return build_pipeline(SD3Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32))
