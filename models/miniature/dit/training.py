"""Trains the transformer by rectified flow: a stage of `python -m models.miniature.train`."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..concepts import Pair, training_pairs
from ..data import Sprites, composite
from ..latents import COPIES, captions_of
from ..loop import Schedule, Trainer, load_trained
from ..unet import draw_sheet
from ..vae import to_tensor
from .model import TEXT_TOKENS, build_pipeline, build_transformer, export

BATCH = 32
CAPTION_DROPOUT = 0.1
MEAN_TIME = 0.2
"""The mean of the logistic-normal distribution of training times: slightly more noise than signal."""
SHEET_EVERY = 2000
SCHEDULE = Schedule(steps=2_700, learning_rate=1.5e-3, decay="linear", decay_from=0.55, warmup_steps=200, average=0.999)


@dataclass(frozen=True)
class FlowSet:
    """Latents and texts of P pairs; all tensors are float16 on the training device."""

    latents: Tensor  # (P, COPIES, 8, 16, 16)
    texts: Tensor  # (P, captions, 33, 256)
    pooled: Tensor  # (P, captions, 256)
    empty_text: Tensor  # (33, 256)
    empty_pooled: Tensor  # (256,)


def train_dit(work: Path, sprites: Sprites, device: torch.device, schedule: Schedule = SCHEDULE) -> None:
    """Train the transformer; resumes from ``work/dit.pt``, draws held-out samples now and then, and exports the end."""
    torch.manual_seed(0)
    transformer = build_transformer().to(device)
    data = _flow_set(work, sprites, device)
    trainer = Trainer(transformer, work / "dit.pt", schedule)

    def loss_of(step: int) -> Tensor:
        return flow_loss(transformer, data, torch.Generator().manual_seed(step))

    def watch(step: int) -> None:
        pipeline = build_pipeline(trainer.averaged).to(device)
        draw_sheet(pipeline, max_sequence_length=TEXT_TOKENS).save(work / f"dit-{step}.png")

    trainer.run(loss_of, watch, SHEET_EVERY)
    export(load_trained(build_transformer(), work / "dit.pt"))


def flow_loss(transformer: SD3Transformer2DModel, data: FlowSet, generator: torch.Generator) -> Tensor:
    """The error of the velocity from latents to noise, predicted for one random batch."""
    device = data.latents.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (BATCH,), generator=generator).to(device)

    pair, caption = draw(data.latents.shape[0]), draw(data.texts.shape[1])
    latents = data.latents[pair, draw(data.latents.shape[1])].float()
    dropped = (torch.rand(BATCH, generator=generator) < CAPTION_DROPOUT).to(device)
    texts = torch.where(dropped[:, None, None], data.empty_text.float(), data.texts[pair, caption].float())
    pooled = torch.where(dropped[:, None], data.empty_pooled.float(), data.pooled[pair, caption].float())
    # One time from each of BATCH equal slices: less noise in the loss than free draws.
    slices = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    normal = math.sqrt(2) * torch.erfinv(2 * slices.clamp(1e-4, 1 - 1e-4) - 1)
    times = torch.sigmoid(normal + MEAN_TIME).to(device)
    noise = torch.randn(latents.shape, generator=generator).to(device)
    share = times[:, None, None, None]
    predicted = transformer(
        hidden_states=(1 - share) * latents + share * noise,
        timestep=times * 1000,
        encoder_hidden_states=texts,
        pooled_projections=pooled,
    ).sample
    return functional.mse_loss(predicted, noise - latents)


def _flow_set(work: Path, sprites: Sprites, device: torch.device) -> FlowSet:
    """Return the data, computed once and kept in ``work/dit-data.pt``."""
    file = work / "dit-data.pt"
    if not file.exists():
        torch.save(_computed(sprites), file)
    return FlowSet(**torch.load(file, map_location=device))


@torch.no_grad()
def _computed(sprites: Sprites) -> dict[str, Tensor]:
    pipeline = build_pipeline(build_transformer())
    pairs = training_pairs()
    encoded = [_encoded(pipeline, captions_of(pair)) for pair in pairs]
    texts, pooled = _encoded(pipeline, [""])
    latents = [_latents(pipeline, sprites, pair) for pair in tqdm(pairs, "latents", mininterval=10)]
    return {
        "latents": torch.stack(latents).half(),
        "texts": torch.stack([texts for texts, _ in encoded]).half(),
        "pooled": torch.stack([pooled for _, pooled in encoded]).half(),
        "empty_text": texts[0].half(),
        "empty_pooled": pooled[0].half(),
    }


def _encoded(pipeline: StableDiffusion3Pipeline, captions: list[str]) -> tuple[Tensor, Tensor]:
    """The pipeline's encodings of captions for the transformer: (B, 33, 256), and (B, 256)."""
    texts, _, pooled, _ = pipeline.encode_prompt(
        captions, captions, captions, do_classifier_free_guidance=False, max_sequence_length=TEXT_TOKENS
    )
    return texts, pooled


def _latents(pipeline: StableDiffusion3Pipeline, sprites: Sprites, pair: Pair) -> Tensor:
    rng = np.random.default_rng((3, *map(ord, "/".join(pair))))
    images = to_tensor([composite(sprites, pair, rng) for _ in range(COPIES)], torch.device("cpu"))
    latents: Tensor = pipeline.vae.encode(images).latent_dist.mode()
    return latents
