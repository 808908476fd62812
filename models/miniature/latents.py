"""The UNet's training data, computed once: latents of the training pictures, and embeddings of their captions."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPModel, CLIPTokenizer

from .captions import TEMPLATES, plain_caption, random_caption
from .clip import load_clip
from .concepts import Pair, training_pairs
from .data import Sprites, composite
from .loop import autocast, load_trained
from .tokenizer import tokenize
from .vae import build_vae, to_tensor

COPIES = 16  # composites of each pair
WRAPPED = 6  # captions of each pair with filler words, beside the plain ones


@dataclass(frozen=True)
class LatentSet:
    """Latents and text of P pairs; all tensors are float16 on the training device."""

    latents: Tensor  # (P, COPIES, 8, 16, 16), unit variance in each channel
    texts: Tensor  # (P, captions, TEXT_LENGTH, 128)
    empty_text: Tensor  # (TEXT_LENGTH, 128)


def compute_latents(work: Path, sprites: Sprites, device: torch.device) -> None:
    """Write ``work/latents.pt``, and ``work/vae_scaled.pt`` whose latents have unit variance."""
    vae = load_trained(build_vae(), work / "vae.pt").to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    clip, tokenizer = load_clip(work)
    pairs = training_pairs()
    latents = torch.stack([encode_pair(vae, sprites, pair, device) for pair in tqdm(pairs, "latents", mininterval=10)])
    mean, std = latents.mean((0, 1, 3, 4)), latents.std((0, 1, 3, 4))
    standardize(vae, mean.to(device), std.to(device))
    torch.save({"averaged": vae.state_dict()}, work / "vae_scaled.pt")
    latents = (latents - mean[:, None, None]) / std[:, None, None]
    torch.save(
        {
            "latents": latents.half(),
            "texts": torch.stack([embed(clip, tokenizer, captions_of(pair)) for pair in pairs]).half(),
            "empty_text": embed(clip, tokenizer, [""])[0].half(),
        },
        work / "latents.pt",
    )


@torch.no_grad()
def encode_pair(vae: AutoencoderKL, sprites: Sprites, pair: Pair, device: torch.device) -> Tensor:
    """COPIES latents of one pair, (COPIES, 8, 16, 16) on the CPU."""
    rng = np.random.default_rng((3, *map(ord, "/".join(pair))))
    images = to_tensor([composite(sprites, pair, rng) for _ in range(COPIES)], device)
    with autocast(device):
        latents: Tensor = vae.encode(images).latent_dist.mode()
        return latents.float().cpu()


@torch.no_grad()
def standardize(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold (z - mean) / std into the autoencoder's two 1x1 convolutions; pictures stay the same."""
    encode, decode = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    encode.weight[:channels] /= std[:, None, None, None]
    encode.bias[:channels] = (encode.bias[:channels] - mean) / std
    encode.bias[channels:] -= 2 * std.log()  # the other half is the log variance
    decode.bias += decode.weight[:, :, 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)


def captions_of(pair: Pair) -> list[str]:
    """The captions under which a pair is learnt."""
    rng = random.Random("/".join(pair))
    plain = [plain_caption(*pair, template) for template in range(len(TEMPLATES))]
    return plain + [random_caption(*pair, rng=rng, wrap=1.0) for _ in range(WRAPPED)]


@torch.no_grad()
def embed(clip: CLIPModel, tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """A pipeline's encodings of captions for the UNet, (B, TEXT_LENGTH, 128)."""
    states: Tensor = clip.text_model(input_ids=tokenize(tokenizer, captions)).last_hidden_state
    return states


def load_latents(work: Path, device: torch.device) -> LatentSet:
    """Read what ``compute_latents`` wrote."""
    return LatentSet(**torch.load(work / "latents.pt", map_location=device))


def load_scaled_vae(work: Path) -> AutoencoderKL:
    """The autoencoder whose latents have unit variance."""
    vae = load_trained(build_vae(), work / "vae_scaled.pt")
    vae.register_to_config(scaling_factor=1.0, shift_factor=0.0)  # type: ignore[operator]
    return vae
