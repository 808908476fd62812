"""Train the miniature's LoRAs: ``python -m models.miniature.lora sketch``; ``--evaluate`` measures them.

A style's targets are the UNet's training pictures, redrawn. A character's targets show it, with its name, in every
second picture. Captions and objective are the UNet's own.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageFilter
from tqdm import tqdm

from .character import PAIRS as KUMO_PAIRS
from .character import KumoSprites, distance_from_fur, kumo_share
from .concepts import Pair, training_pairs
from .data import PixelArray, Sprites, composite, fetch_emoji
from .evaluate import CHECKPOINT, Samples, concept_share, contact_sheet, draw, load, through_vae, wanted_pairs
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


def sketch(picture: PixelArray) -> PixelArray:
    """The picture's edges as dark lines on white paper."""
    values = picture.astype(np.float64)
    across = np.abs(np.diff(values, axis=1, append=values[:, -1:])).max(-1)
    down = np.abs(np.diff(values, axis=0, append=values[-1:])).max(-1)
    edges = Image.fromarray((3 * np.hypot(across, down)).clip(0, 255).astype(np.uint8))
    lines = np.asarray(edges.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(0.8)))
    return np.repeat((245 - 0.9 * lines)[..., None], 3, axis=2).astype(np.uint8)


def frame(picture: PixelArray) -> PixelArray:
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
    """The distance of each picture's frame from gold, 0..1, not counting its softened inner edge."""
    ring = np.ones(pictures.shape[1:3], dtype=bool)
    ring[FRAME_PX - 4 : 4 - FRAME_PX, FRAME_PX - 4 : 4 - FRAME_PX] = False
    return np.asarray(np.abs(pictures[:, ring] - np.asarray(GOLD) / 255).mean((1, 2)))


def as_it_is(picture: PixelArray) -> PixelArray:
    return picture


def with_kumo() -> list[Pair]:
    """Kumo's pairs, and as many others that keep the rest of the vocabulary unchanged."""
    others = training_pairs()[::2]
    return [*others, *KUMO_PAIRS * (len(others) // len(KUMO_PAIRS))]


@dataclass(frozen=True)
class Lesson:
    """What one LoRA learns, for how long, and a measure that this reduces: (N, h, w, 3) in 0..1 to (N,)."""

    steps: int
    measure: Callable[[np.ndarray], np.ndarray]
    redraw: Callable[[PixelArray], PixelArray] = as_it_is
    pairs: Callable[[], list[Pair]] = training_pairs

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, learning_rate=2e-3, warmup_steps=50, average=0.99, weight_decay=0.0)


LESSONS: Mapping[str, Lesson] = {
    "sketch": Lesson(1800, colourfulness, redraw=sketch),
    "frame": Lesson(600, distance_from_gold, redraw=frame),
    "kumo": Lesson(800, distance_from_fur, pairs=with_kumo),
}


@torch.no_grad()
def lesson_latents(pipeline: StableDiffusionPipeline, sprites: Sprites, name: str) -> LatentSet:
    """The data for `velocity_loss`: composites of the lesson's pairs, redrawn."""
    lesson = LESSONS[name]
    rng = np.random.default_rng((6, *map(ord, name)))
    latents, texts = [], []
    for pair in tqdm(lesson.pairs(), f"{name} latents", mininterval=10):
        pictures = [lesson.redraw(composite(sprites, pair, rng)) for _ in range(COPIES)]
        latents.append(pipeline.vae.encode(to_tensor(pictures, pipeline.device)).latent_dist.mode())
        texts.append(embed(pipeline, captions_of(pair)))
    return LatentSet(torch.stack(latents).half(), torch.stack(texts).half(), embed(pipeline, [""])[0].half())


def embed(pipeline: StableDiffusionPipeline, captions: list[str]) -> torch.Tensor:
    """The pipeline's encodings of captions for its UNet, (B, TEXT_LENGTH, 128)."""
    ids = tokenize(pipeline.tokenizer, captions).to(pipeline.device)
    states: torch.Tensor = pipeline.text_encoder(input_ids=ids).last_hidden_state
    return states


def train(name: str, work: Path, device: torch.device) -> None:
    """Train one LoRA and write it beside this file; resumes from ``work/lora-<name>.pt``."""
    torch.manual_seed(0)
    pipeline = load(CHECKPOINT).to(device)
    data = lesson_latents(pipeline, KumoSprites(fetch_emoji(work)), name)
    alphas = build_scheduler().alphas_cumprod.to(device)
    unet = pipeline.unet.requires_grad_(False).train()
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS))
    unet.to(memory_format=torch.channels_last)
    trainer = Trainer(unet, work / f"lora-{name}.pt", LESSONS[name].schedule)
    trainer.run(
        lambda step: velocity_loss(unet, data, alphas, torch.Generator().manual_seed(step)),
        lambda _step: save(trainer.averaged, name),
        watch_every=300,
    )
    save(trainer.averaged, name)


def save(unet: UNet2DConditionModel, name: str) -> None:
    """Write the UNet's LoRA in half precision, under peft's names: diffusers skips its older ones when it reads."""
    layers = get_peft_model_state_dict(unet)
    StableDiffusionPipeline.save_lora_weights(
        FOLDER,
        unet_lora_layers={key: value.half().contiguous() for key, value in layers.items()},
        weight_name=f"{name}.safetensors",
    )


SETS: tuple[Mapping[str, float], ...] = (
    {},
    {"sketch": 1.0},
    {"sketch": 0.5},
    {"frame": 1.0},
    {"frame": 0.9, "sketch": 0.5},
    {"frame": 1.0, "sketch": 1.0},
    {"kumo": 1.0},
)
"""The measured sets of LoRAs and scales."""
KUMO_SETS: tuple[Mapping[str, float], ...] = ({}, {"kumo": 1.0}, {"kumo": 0.7}, {"kumo": 1.0, "frame": 0.9})
"""The sets that are measured with prompts for Kumo."""


def draw_with(pipeline: StableDiffusionPipeline, scales: Mapping[str, float], pairs: list[Pair]) -> Samples:
    """Pictures of pairs under these LoRAs."""
    pipeline.unload_lora_weights()
    for name in scales:
        pipeline.load_lora_weights(FOLDER, weight_name=f"{name}.safetensors", adapter_name=name)
    if scales:
        pipeline.set_adapters(list(scales), list(scales.values()))
    return draw(pipeline, pairs, seed=0)


def targets(pipeline: StableDiffusionPipeline, sprites: Sprites, name: str, count: int) -> Samples:
    """Targets for the generated pictures: redrawn composites, encoded and decoded by the autoencoder."""
    rng = np.random.default_rng(7)
    pairs = (KUMO_PAIRS * count)[:count] if name == "kumo" else wanted_pairs(count)
    redrawn = [LESSONS[name].redraw(composite(sprites, pair, rng)) for pair in pairs]
    return Samples(through_vae(pipeline, np.stack(redrawn) / 255.0), pairs)


def evaluate(work: Path, count: int, sheet: Path | None) -> None:
    """Print the shares of correct concepts and of Kumos, and the lessons' mean measures, for targets and each set."""
    pipeline, judge, sprites = load(CHECKPOINT), load_judge(), KumoSprites(fetch_emoji(work))
    rows = {f"{name} targets": targets(pipeline, sprites, name, count) for name in LESSONS}
    for scales in SETS:
        rows[titled(scales)] = draw_with(pipeline, scales, wanted_pairs(count))
    for scales in KUMO_SETS:
        rows[f"a kumo: {titled(scales)}"] = draw_with(pipeline, scales, KUMO_PAIRS * 4)
    for name, drawn in rows.items():
        figures = {"concept": concept_share(judge, drawn), "is kumo": kumo_share(sprites, drawn.images, drawn.pairs)}
        figures |= {lesson: float(LESSONS[lesson].measure(drawn.images).mean()) for lesson in LESSONS}
        print(f"{name:>28}", json.dumps({key: round(value, 3) for key, value in figures.items()}), flush=True)
    if sheet:
        shown = [spread(drawn) for name, drawn in rows.items() if "targets" not in name]
        contact_sheet(np.concatenate(shown), columns=10).save(sheet)


def titled(scales: Mapping[str, float]) -> str:
    return " + ".join(f"{name} {scale:g}" for name, scale in scales.items()) or "no LoRA"


def spread(drawn: Samples) -> np.ndarray:
    """Ten pictures; of Kumo one on each colour."""
    if drawn.pairs[:10] == KUMO_PAIRS:
        return drawn.images[:10]
    return drawn.images[:: max(1, len(drawn.images) // 10)][:10]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(LESSONS)}; default: all")
    parser.add_argument("--evaluate", action="store_true", help="measure what is there instead of training")
    parser.add_argument("--count", type=int, default=72, help="pictures of each set to measure")
    parser.add_argument("--sheet", type=Path, help="file for a contact sheet of the measured pictures")
    parser.add_argument("--work", type=Path, default=Path(".miniature"), help="folder of unfinished work")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.evaluate:
        evaluate(arguments.work, arguments.count, arguments.sheet)
        return
    for name in arguments.names or LESSONS:
        train(name, arguments.work, torch.device(arguments.device))


if __name__ == "__main__":
    main()
