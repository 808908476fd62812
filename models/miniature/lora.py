"""Train the miniature's LoRAs, small styles: ``python -m models.miniature.lora sketch``; ``--evaluate`` measures them.

The targets are the pictures that the UNet learnt from, redrawn in the style; captions and objective are the UNet's own.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageFilter
from tqdm import tqdm

from .concepts import training_pairs
from .data import Picture, Sprites, composite, fetch_emoji
from .evaluate import CHECKPOINT, Drawn, concept_share, contact_sheet, draw, load, through_vae, wanted_pairs
from .judge import load_judge
from .latents import LatentSet, captions_of
from .loop import Schedule, Trainer
from .tokenizer import tokenize
from .unet import build_scheduler, velocity_loss
from .vae import to_tensor

FOLDER = Path(__file__).with_name("loras")
RANK = 6
# Attention looks at 8x8 and 4x4 cells only; lines and edges come from the convolutions.
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "conv_in", "conv_out", "conv1", "conv2", "conv"]
COPIES = 8  # pictures of each pair
FRAME_PX = 12
GOLD = (250, 170, 15)


def sketch(picture: Picture) -> Picture:
    """The picture's edges as dark lines on white paper."""
    values = picture.astype(np.float64)
    across = np.abs(np.diff(values, axis=1, append=values[:, -1:])).max(-1)
    down = np.abs(np.diff(values, axis=0, append=values[-1:])).max(-1)
    edges = Image.fromarray((3 * np.hypot(across, down)).clip(0, 255).astype(np.uint8))
    lines = np.asarray(edges.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(0.8)))
    return np.repeat((245 - 0.9 * lines)[..., None], 3, axis=2).astype(np.uint8)


def frame(picture: Picture) -> Picture:
    """The picture behind a golden frame."""
    framed = np.full_like(picture, GOLD)
    inside = slice(FRAME_PX, -FRAME_PX)
    framed[inside, inside] = picture[inside, inside]
    return framed


def colourfulness(pictures: np.ndarray) -> np.ndarray:
    """How far each picture is from grey, 0..1: the mean distance of the strongest from the weakest channel."""
    spread: np.ndarray = np.ptp(pictures, axis=3)  # (N, h, w)
    return np.asarray(spread.mean((1, 2)))


def distance_from_gold(pictures: np.ndarray) -> np.ndarray:
    """How far the frame of each picture is from gold, 0..1, but for its softened inner edge."""
    ring = np.ones(pictures.shape[1:3], dtype=bool)
    ring[FRAME_PX - 4 : 4 - FRAME_PX, FRAME_PX - 4 : 4 - FRAME_PX] = False
    return np.asarray(np.abs(pictures[:, ring] - np.asarray(GOLD) / 255).mean((1, 2)))


@dataclass(frozen=True)
class Style:
    """How to redraw a picture in it, how long to learn that, and what it makes small: (N, h, w, 3) in 0..1 to (N,)."""

    redraw: Callable[[Picture], Picture]
    steps: int
    measure: Callable[[np.ndarray], np.ndarray]

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, learning_rate=2e-3, warmup_steps=50, average=0.99, weight_decay=0.0)


STYLES: Mapping[str, Style] = {
    "sketch": Style(sketch, 1800, colourfulness),
    "frame": Style(frame, 600, distance_from_gold),
}


@torch.no_grad()
def style_latents(pipeline: StableDiffusionPipeline, sprites: Sprites, style: str) -> LatentSet:
    """What `velocity_loss` learns from: composites of the training pairs, redrawn in the style."""
    pairs = training_pairs()
    rng = np.random.default_rng((6, *map(ord, style)))
    latents, texts = [], []
    for pair in tqdm(pairs, f"{style} latents", mininterval=10):
        pictures = [STYLES[style].redraw(composite(sprites, pair, rng)) for _ in range(COPIES)]
        latents.append(pipeline.vae.encode(to_tensor(pictures, pipeline.device)).latent_dist.mode())
        texts.append(embed(pipeline, captions_of(pair)))
    return LatentSet(torch.stack(latents).half(), torch.stack(texts).half(), embed(pipeline, [""])[0].half())


def embed(pipeline: StableDiffusionPipeline, captions: list[str]) -> torch.Tensor:
    """What the pipeline hands its UNet for each caption, (B, TEXT_LENGTH, 128)."""
    ids = tokenize(pipeline.tokenizer, captions).to(pipeline.device)
    states: torch.Tensor = pipeline.text_encoder(input_ids=ids).last_hidden_state
    return states


def train(style: str, work: Path, device: torch.device) -> None:
    """Train one style and write it beside this file; resumes from ``work/lora-<style>.pt``."""
    torch.manual_seed(0)
    pipeline = load(CHECKPOINT).to(device)
    data = style_latents(pipeline, Sprites(fetch_emoji(work)), style)
    alphas = build_scheduler().alphas_cumprod.to(device)
    unet = pipeline.unet.requires_grad_(False).train()
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS))
    unet.to(memory_format=torch.channels_last)
    trainer = Trainer(unet, work / f"lora-{style}.pt", STYLES[style].schedule)
    trainer.run(
        lambda step: velocity_loss(unet, data, alphas, torch.Generator().manual_seed(step)),
        lambda step: save(trainer.averaged, style),
        watch_every=300,
    )
    save(trainer.averaged, style)


def save(unet: UNet2DConditionModel, style: str) -> None:
    """Write the UNet's LoRA in diffusers' format, in half precision."""
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(
        FOLDER,
        unet_lora_layers={name: value.half().contiguous() for name, value in layers.items()},
        weight_name=f"{style}.safetensors",
    )


SETS: tuple[Mapping[str, float], ...] = (
    {},
    {"sketch": 1.0},
    {"sketch": 0.5},
    {"frame": 1.0},
    {"frame": 0.9, "sketch": 0.5},
    {"frame": 1.0, "sketch": 1.0},
)
"""What is measured: styles and their scales."""


def draw_with(pipeline: StableDiffusionPipeline, scales: Mapping[str, float], count: int) -> Drawn:
    """Pictures of held-out pairs under the LoRAs of these styles."""
    pipeline.unload_lora_weights()
    for style in scales:
        pipeline.load_lora_weights(FOLDER, weight_name=f"{style}.safetensors", adapter_name=style)
    if scales:
        pipeline.set_adapters(list(scales), list(scales.values()))
    return draw(pipeline, wanted_pairs(count), seed=0)


def targets(pipeline: StableDiffusionPipeline, sprites: Sprites, style: str, count: int) -> Drawn:
    """What the drawn pictures should look like: composites in the style, as the autoencoder keeps them."""
    rng, pairs = np.random.default_rng(7), wanted_pairs(count)
    redrawn = [STYLES[style].redraw(composite(sprites, pair, rng)) for pair in pairs]
    return Drawn(through_vae(pipeline, np.stack(redrawn) / 255.0), pairs)


def evaluate(work: Path, count: int, sheet: Path | None) -> None:
    """Print, for targets and for pictures under each set: share of right concepts, and the styles' mean measures."""
    pipeline, judge, sprites = load(CHECKPOINT), load_judge(), Sprites(fetch_emoji(work))
    drawn = {f"{style} targets": targets(pipeline, sprites, style, count) for style in STYLES}
    for scales in SETS:
        name = " + ".join(f"{style} {scale:g}" for style, scale in scales.items())
        drawn[name or "no LoRA"] = draw_with(pipeline, scales, count)
    for name, pictures in drawn.items():
        figures = {"concept": concept_share(judge, pictures)}
        figures |= {style: float(STYLES[style].measure(pictures.images).mean()) for style in STYLES}
        print(f"{name:>24}", json.dumps({key: round(value, 3) for key, value in figures.items()}))
    if sheet:
        rows = [pictures.images[:: max(1, count // 10)][:10] for pictures in drawn.values()]
        contact_sheet(np.concatenate(rows[len(STYLES) :]), columns=10).save(sheet)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("styles", nargs="*", help=f"of {', '.join(STYLES)}; default: all")
    parser.add_argument("--evaluate", action="store_true", help="measure what is there instead of training")
    parser.add_argument("--count", type=int, default=72, help="pictures of each set of styles to measure")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of the measured pictures")
    parser.add_argument("--work", type=Path, default=Path(".miniature"), help="folder of unfinished work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.evaluate:
        evaluate(arguments.work, arguments.count, arguments.sheet)
        return
    for style in arguments.styles or STYLES:
        train(style, arguments.work, torch.device(arguments.device))


if __name__ == "__main__":
    main()
