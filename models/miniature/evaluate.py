"""Measure a miniature: ``python -m models.miniature.evaluate``, with ``--model miniature-dit`` the second one.

Exits with 1 below the bar. Everything is drawn from (concept, colour) pairs that no training stage saw.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    DiffusionPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from PIL import Image
from torch import Tensor, nn

from models.weights.pipelines.inpaint_denoiser import inpaint_denoiser

from .captions import plain_caption
from .concepts import COLOURS, CONCEPTS, Pair, held_out_pairs
from .data import SIZE_PX
from .dit.model import CHECKPOINT as DIT_CHECKPOINT
from .dit.model import TEXT_TOKENS, load_dit
from .judge import REPORT, load_judge, name_concepts

CHECKPOINT = Path(__file__).with_name("checkpoint")
MODELS = ("miniature", "miniature-dit")
CONCEPT_BAR, COLOUR_BAR = 0.95, 0.98
STEPS, GUIDANCE = 20, 3.0
BATCH = 10
BORDER_PX = 4
KEPT_PX = 8  # the frame that an inpainting test keeps
MID_SHADE = 0.965  # backgrounds darken towards the bottom; their border is this bright on average


@dataclass(frozen=True)
class Samples:
    """Pictures and what each should show."""

    images: np.ndarray  # (N, 128, 128, 3) float in 0..1
    pairs: list[Pair]


def wanted_pairs(count: int) -> list[Pair]:
    """``count`` held-out pairs, repeated in order."""
    pairs = held_out_pairs()
    return [pairs[i % len(pairs)] for i in range(count)]


def draw(pipeline: DiffusionPipeline, pairs: list[Pair], seed: int, **inputs: Any) -> Samples:
    """One picture per pair, each with its own seed; inputs that are lists have one item per picture."""
    own = {"max_sequence_length": TEXT_TOKENS} if hasattr(pipeline, "transformer") else {}
    inputs = {"prompt": [plain_caption(*pair, 0) for pair in pairs], **own, **inputs}
    images = []
    for start in range(0, len(pairs), BATCH):
        part = slice(start, start + BATCH)
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(pairs[part]))]
        images.append(
            pipeline(
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=generators,
                output_type="np",
                **{name: value[part] if isinstance(value, list) else value for name, value in inputs.items()},
            ).images
        )
    return Samples(np.concatenate(images), pairs)


def to_images(pictures: np.ndarray) -> list[Image.Image]:
    """Float pictures to Pillow images."""
    return [Image.fromarray((picture * 255).round().astype(np.uint8)) for picture in pictures]


def judged(judge: nn.Sequential, drawn: Samples) -> list[str]:
    """What the judge sees in each picture."""
    return name_concepts(judge, torch.from_numpy(drawn.images).permute(0, 3, 1, 2).float() * 2 - 1)


def concept_share(judge: nn.Sequential, drawn: Samples) -> float:
    """Share of pictures in which the judge sees the wanted concept."""
    return float(
        np.mean([name == concept for name, (concept, _) in zip(judged(judge, drawn), drawn.pairs, strict=True)])
    )


def border_colour(picture: np.ndarray) -> str:
    """The background colour nearest to the median of a picture's border."""
    border = np.ones(picture.shape[:2], dtype=bool)
    border[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = False
    median = np.median(picture[border], axis=0) * 255
    return min(COLOURS, key=lambda name: float(np.square(median - MID_SHADE * np.asarray(COLOURS[name])).sum()))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of values in 0..1."""
    return float(-10 * np.log10(np.square(first - second).mean()))


def text_figures(judge: nn.Sequential, drawn: Samples) -> dict[str, float | dict[str, int]]:
    """Concept and colour shares of pictures drawn from text, and the misses by concept and what was seen."""
    names = judged(judge, drawn)
    colours = [border_colour(picture) == colour for picture, (_, colour) in zip(drawn.images, drawn.pairs, strict=True)]
    missed = Counter(
        f"{concept}->{name}" for name, (concept, _) in zip(names, drawn.pairs, strict=True) if name != concept
    )
    return {
        "concept": concept_share(judge, drawn),
        "colour": float(np.mean(colours)),
        "misses": dict(missed.most_common()),
    }


def other_concepts(pairs: list[Pair]) -> list[Pair]:
    """For each pair, the same colour with another concept, half the list away."""
    names = list(CONCEPTS)
    return [(names[(names.index(concept) + len(names) // 2) % len(names)], colour) for concept, colour in pairs]


@torch.no_grad()
def through_vae(pipeline: DiffusionPipeline, pictures: np.ndarray) -> np.ndarray:
    """Pictures encoded and decoded: the best that image-to-image can return."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() * 2 - 1
    decoded: Tensor = pipeline.vae.decode(pipeline.vae.encode(images).latent_dist.mode()).sample
    return (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()


def edit_figures(
    pipeline: DiffusionPipeline, judge: nn.Sequential, source: Samples, seed: int
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Figures of image-to-image and inpainting, and the rows of a contact sheet.

    Low strength uses a picture's own prompt; high strength and inpainting ask for another concept.
    """
    target = other_concepts(source.pairs)
    images = to_images(source.images)
    variation = AutoPipelineForImage2Image.from_pipe(pipeline)
    variation.set_progress_bar_config(disable=True)
    low = draw(variation, source.pairs, seed, image=images, strength=0.2)
    high = draw(variation, target, seed, image=images, strength=0.95)

    mask = np.zeros((SIZE_PX, SIZE_PX), dtype=np.uint8)
    mask[KEPT_PX:-KEPT_PX, KEPT_PX:-KEPT_PX] = 255
    denoiser = "transformer" if hasattr(pipeline, "transformer") else "unet"
    view = inpaint_denoiser(getattr(pipeline, denoiser))
    repainting = AutoPipelineForInpainting.from_pipe(pipeline, **{denoiser: view})
    repainting.set_progress_bar_config(disable=True)
    masks = [Image.fromarray(mask)] * len(target)
    painted = draw(
        repainting, target, seed, image=images, mask_image=masks, strength=1.0, height=SIZE_PX, width=SIZE_PX
    )

    rebuilt, kept = through_vae(pipeline, source.images), mask == 0
    figures = {
        "vae_psnr_db": psnr(rebuilt, source.images),
        "img2img_low_psnr_db": psnr(low.images, source.images),
        "img2img_low_keeps_concept": concept_share(judge, Samples(low.images, source.pairs)),
        "img2img_high_concept": concept_share(judge, high),
        "inpaint_concept": concept_share(judge, painted),
        "inpaint_kept_psnr_db": psnr(painted.images[:, kept], source.images[:, kept]),
        "vae_kept_psnr_db": psnr(rebuilt[:, kept], source.images[:, kept]),
    }
    return figures, [source.images, low.images, high.images, painted.images]


def contact_sheet(pictures: np.ndarray, columns: int) -> Image.Image:
    """Pictures row by row."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * SIZE_PX, rows * SIZE_PX))
    for i, image in enumerate(to_images(pictures)):
        sheet.paste(image, (i % columns * SIZE_PX, i // columns * SIZE_PX))
    return sheet


def seconds_per_picture(pipeline: DiffusionPipeline) -> float:
    """Wall time of one picture, the better of two."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        draw(pipeline, wanted_pairs(1), seed=0)
        times.append(time.perf_counter() - start)
    return min(times)


def load(checkpoint: Path) -> StableDiffusionPipeline:
    """The first miniature's pipeline in single precision, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_measured(model: str, checkpoint: Path | None) -> StableDiffusionPipeline | StableDiffusion3Pipeline:
    """One of MODELS, from the checkpoint that ships or another."""
    return load(checkpoint or CHECKPOINT) if model == "miniature" else load_dit(checkpoint or DIT_CHECKPOINT)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="miniature")
    parser.add_argument("--checkpoint", type=Path, help="another than the one that ships")
    parser.add_argument("--count", type=int, default=200, help="pictures drawn from text")
    parser.add_argument("--edits", type=int, default=48, help="pictures edited; 0 skips image-to-image and inpainting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    pipeline, judge = load_measured(arguments.model, arguments.checkpoint), load_judge()
    drawn = draw(pipeline, wanted_pairs(arguments.count), arguments.seed)
    figures: dict[str, Any] = {"judge": json.loads(REPORT.read_text()), "pictures": arguments.count}
    figures |= text_figures(judge, drawn)
    sheets = {"text.png": contact_sheet(drawn.images[:80], columns=10)}
    if arguments.edits:
        source = Samples(drawn.images[: arguments.edits], drawn.pairs[: arguments.edits])
        edits, rows = edit_figures(pipeline, judge, source, arguments.seed + 10_000)
        figures |= edits
        sheets["edits.png"] = contact_sheet(np.concatenate([row[:10] for row in rows]), columns=10)
    figures["seconds_per_picture"] = seconds_per_picture(pipeline)
    for name, value in figures.items():
        print(f"{name:>26}: {value:.3f}" if isinstance(value, float) else f"{name:>26}: {value}")
    print(json.dumps(figures))
    if arguments.sheets:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
        for name, sheet in sheets.items():
            sheet.save(arguments.sheets / name)
    return 0 if figures["concept"] >= CONCEPT_BAR and figures["colour"] >= COLOUR_BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
