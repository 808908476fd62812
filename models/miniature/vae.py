"""The autoencoder: 128x128 pictures to 16x16 latents of eight channels and back."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from .concepts import held_out_pairs, training_pairs
from .data import READER_PLACEMENT, Sprites, composite
from .loop import Schedule, Trainer, autocast

CROP_PX = 64
CROP_STEPS = 3400  # crops first: four times cheaper than whole pictures, and textures are local
WHOLE_STEPS = 700
CROP_BATCH, WHOLE_BATCH = 16, 8
KL_WEIGHT = 5e-4
SCHEDULE = Schedule(steps=CROP_STEPS + WHOLE_STEPS, learning_rate=2e-3)


def build_vae() -> AutoencoderKL:
    """A fresh autoencoder; few channels at full resolution keep a decode cheap next to the UNet's steps."""
    return AutoencoderKL(
        sample_size=128,
        latent_channels=8,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        mid_block_add_attention=False,
    )


def to_tensor(pictures: list[np.ndarray], device: torch.device) -> Tensor:
    """uint8 pictures to (B, 3, h, w) in -1..1."""
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # channels last in memory
    return batch.to(device).float() / 127.5 - 1


def reconstruction_loss(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """L1 + MSE of a sampled reconstruction, and a light pull of the latents to the unit normal."""
    with autocast(images.device):
        posterior = vae.encode(images).latent_dist
        decoded = vae.decode(posterior.sample()).sample
    error = decoded.float() - images
    pull: Tensor = posterior.kl().mean() / posterior.mean[0].numel()
    loss: Tensor = error.abs().mean() + error.square().mean() + KL_WEIGHT * pull
    return loss


def train_vae(work: Path, sprites: Sprites, device: torch.device, schedule: Schedule = SCHEDULE) -> None:
    """Train the autoencoder on composites of the training pairs; resumes from ``work/vae.pt``."""
    torch.manual_seed(0)
    vae = build_vae().to(device, memory_format=torch.channels_last)
    pairs = training_pairs()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((1, step))
        crop = step < CROP_STEPS
        chosen = rng.integers(len(pairs), size=CROP_BATCH if crop else WHOLE_BATCH)
        pictures = [composite(sprites, pairs[i], rng, READER_PLACEMENT) for i in chosen]
        if crop:
            pictures = [random_crop(picture, rng) for picture in pictures]
        return reconstruction_loss(vae, to_tensor(pictures, device))

    Trainer(vae, work / "vae.pt", schedule).run(loss_of)
    print(f"VAE: {psnr(vae, sprites, device):.1f} dB on composites of held-out pairs")


def random_crop(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A CROP_PX square from anywhere in the picture."""
    top, left = rng.integers(0, picture.shape[0] - CROP_PX + 1, size=2)
    return picture[top : top + CROP_PX, left : left + CROP_PX]


@torch.no_grad()
def psnr(vae: AutoencoderKL, sprites: Sprites, device: torch.device) -> float:
    """Mean peak signal-to-noise ratio in dB of reconstructed composites, one for each held-out pair."""
    rng = np.random.default_rng(7)
    images = to_tensor([composite(sprites, pair, rng) for pair in held_out_pairs()], device)
    decoded = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    errors = functional.mse_loss(decoded, images, reduction="none").mean((1, 2, 3)) / 4  # of a range of 1, not 2
    return (-10 * errors.log10()).mean().item()
