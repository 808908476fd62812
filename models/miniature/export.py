"""Write the trained parts as a diffusers checkpoint in half precision, with the further files for a server."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional
from transformers import CLIPImageProcessorPil

from .captions import words
from .clip import IMAGE_PX, MEAN, STD, load_clip
from .concepts import COLOURS, CONCEPTS, training_pairs
from .data import Sprites, composite
from .unet import load_pipeline
from .vae import to_tensor

CHECKPOINT = Path(__file__).with_name("checkpoint")


def export(work: Path, sprites: Sprites, device: torch.device) -> None:  # noqa: ARG001  # as every stage of `train`
    """Fill the ``checkpoint`` folder beside this file from the states in ``work``."""
    pipeline = load_pipeline(work)
    preview = preview_map(pipeline.vae, sprites)
    size = {"height": IMAGE_PX, "width": IMAGE_PX}
    # With Pillow on every machine: torchvision, where it is installed, resizes differently.
    processor = CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False, image_mean=MEAN, image_std=STD)
    pipeline.register_modules(feature_extractor=processor)  # IP-Adapters look at references through it
    pipeline.to(torch.float16).save_pretrained(CHECKPOINT)
    clip, _ = load_clip(work)
    clip.half().save_pretrained(CHECKPOINT / "clip")
    processor.save_pretrained(CHECKPOINT / "clip")
    vocabulary = {"concepts": list(CONCEPTS), "colours": list(COLOURS), "words": words()}
    (CHECKPOINT / "vocabulary.json").write_text(json.dumps(vocabulary, indent=2) + "\n")
    (CHECKPOINT / "preview.json").write_text(json.dumps(preview, indent=2) + "\n")
    size_bytes = sum(file.stat().st_size for file in CHECKPOINT.rglob("*") if file.is_file())
    print(f"export: {size_bytes / 1e6:.1f} MB in {CHECKPOINT}")


@torch.no_grad()
def preview_map(vae: AutoencoderKL, sprites: Sprites, count: int = 100) -> dict[str, list[Any]]:
    """The linear map from scaled latents to RGB in -1..1 with the least squared error: weight (C, 3), bias (3)."""
    rng = np.random.default_rng(5)
    pairs = training_pairs()
    pictures = [composite(sprites, pairs[i], rng) for i in rng.choice(len(pairs), count, replace=False)]
    images = to_tensor(pictures, torch.device("cpu"))
    latents = vae.encode(images).latent_dist.mode() * vae.config.scaling_factor
    colours = functional.interpolate(images, size=latents.shape[-2:], mode="area")
    inputs = latents.permute(0, 2, 3, 1).flatten(0, 2)  # (B * h * w, C)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    solution = torch.linalg.lstsq(inputs, colours.permute(0, 2, 3, 1).flatten(0, 2)).solution  # (C + 1, 3)
    return {"weight": solution[:-1].tolist(), "bias": solution[-1].tolist()}
