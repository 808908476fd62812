"""Measure the IP-Adapter: how much of the reference, and of the caption, shows in a picture."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional

from .captions import article, plain_caption
from .character import CENTRED, OBJECT
from .concepts import COLOURS, Pair, training_pairs
from .data import PixelArray, Sprites, composite
from .evaluate import (
    Samples,
    border_colour,
    concept_share,
    contact_sheet,
    draw,
    to_images,
    wanted_pairs,
)
from .judge import load_judge
from .references import LOOKS, Recoloured

SCALES = (0.0, 0.2, 0.6, 1.0)
Caption = Literal["open", "full"]
SHOWN: tuple[tuple[Caption, float], ...] = (("open", 0.0), ("open", 1.0), ("full", 0.2))
"""Rows of the sheet, below the references; COLUMNS pictures of each."""
COLUMNS = 10


@dataclass(frozen=True)
class ReferencedPairs:
    """References, on other backgrounds than the pictures that are to be generated from them."""

    pairs: list[Pair]
    looks: list[int]  # of LOOKS, one for each pair
    references: list[PixelArray]


def wanted(sprites: Sprites, pairs: list[Pair], looks: list[int]) -> ReferencedPairs:
    """For each pair, a reference with its concept in a look, on another colour."""
    rng = np.random.default_rng(13)
    references = [
        composite(Recoloured(sprites, LOOKS[look]), (pair[0], other_colour(pair)), rng)
        for pair, look in zip(pairs, looks, strict=True)
    ]
    return ReferencedPairs(pairs, looks, references)


def other_colour(pair: Pair) -> str:
    """Another colour, on which the adapter was trained to see the concept."""
    concept, colour = pair
    seen = [known for name, known in training_pairs() if name == concept]
    return seen[list(COLOURS).index(colour) % len(seen)]


def draw_after(
    pipeline: StableDiffusionPipeline, wish: ReferencedPairs, scale: float, caption: Caption, seed: int = 0
) -> np.ndarray:
    """Pictures generated from the references, (N, 128, 128, 3) in 0..1; an open caption names only the background."""
    pipeline.set_ip_adapter_scale(scale)
    images = []
    # One by one: pipelines take one reference for a whole batch.
    for i, (pair, reference) in enumerate(zip(wish.pairs, to_images(np.stack(wish.references) / 255), strict=True)):
        prompt = f"on {article(pair[1])} {pair[1]} background" if caption == "open" else plain_caption(*pair, 0)
        images.append(draw(pipeline, [pair], seed + i, prompt=[prompt], ip_adapter_image=reference).images)
    return np.concatenate(images)


@torch.no_grad()
def likeness(pipeline: StableDiffusionPipeline, images: np.ndarray, references: list[PixelArray]) -> float:
    """Mean cosine of CLIP's embeddings of pictures and their references."""

    def embedded(pictures: list[PixelArray]) -> Tensor:
        pixels = pipeline.feature_extractor(to_images(np.stack(pictures) / 255), return_tensors="pt").pixel_values
        embeddings: Tensor = pipeline.image_encoder(pixels).image_embeds
        return embeddings

    pictures = list((images * 255).round().astype(np.uint8))
    return functional.cosine_similarity(embedded(pictures), embedded(references)).mean().item()


def colour_share(images: np.ndarray, pairs: list[Pair]) -> float:
    """Share of pictures on the wanted background."""
    return float(np.mean([border_colour(image) == colour for image, (_, colour) in zip(images, pairs, strict=True)]))


def look_share(sprites: Sprites, images: np.ndarray, wish: ReferencedPairs) -> float:
    """Share of pictures that are nearer to their character in the wanted look than in any other."""
    right = []
    for image, pair, look in zip(images, wish.pairs, wish.looks, strict=True):
        drawn = [composite(Recoloured(sprites, own), pair, np.random.default_rng(0), CENTRED) / 255 for own in LOOKS]
        errors = [np.square(image[OBJECT] - one[OBJECT]).mean() for one in drawn]
        right.append(int(np.argmin(errors)) == look)
    return float(np.mean(right))


def wishes(sprites: Sprites, count: int) -> Iterator[tuple[str, ReferencedPairs]]:
    """Held-out pairs in their own look and in others."""
    pairs = wanted_pairs(count)
    yield "own look", wanted(sprites, pairs, [0] * count)
    yield "other look", wanted(sprites, pairs, [1 + i % (len(LOOKS) - 1) for i in range(count)])


def spread(pictures: np.ndarray) -> np.ndarray:
    """A row of the sheet from pictures of a kind."""
    return pictures[:: max(1, len(pictures) // COLUMNS)][:COLUMNS]


def evaluate(pipeline: StableDiffusionPipeline, sprites: Sprites, count: int, sheet: Path | None) -> None:
    """Print shares of right concepts, backgrounds and looks, and the likeness to the references."""
    judge, rows = load_judge(), []
    for name, wish in wishes(sprites, count):
        rows.append(spread(np.stack(wish.references) / 255))
        for caption in ("open", "full"):
            for scale in SCALES:
                images = draw_after(pipeline, wish, scale, caption)
                figures = {
                    "concept": concept_share(judge, Samples(images, wish.pairs)),
                    "colour": colour_share(images, wish.pairs),
                    "look": look_share(sprites, images, wish),
                    "likeness": likeness(pipeline, images, wish.references),
                }
                rounded = {key: round(value, 3) for key, value in figures.items()}
                print(f"{name}, {caption} caption, scale {scale:g}:", json.dumps(rounded), flush=True)
                if (caption, scale) in SHOWN:
                    rows.append(spread(images))
    if sheet:
        contact_sheet(np.concatenate(rows), columns=COLUMNS).save(sheet)
