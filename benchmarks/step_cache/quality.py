"""How far images are from those without a cache, and whether they still show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPImageProcessorPil, CLIPModel

from models.miniature.concepts import Pair
from models.miniature.evaluate import CHECKPOINT, Samples, concept_share, psnr
from models.miniature.judge import load_judge

Images = Sequence[NDArray[np.float64]]
"""Each (h, w, 3) of 0 to 1."""
IDENTICAL_DB = 99.0


@dataclass(frozen=True)
class Likeness:
    """Of images to those that the same seeds give without a cache."""

    median_db: float
    worst_db: float
    """Peak signal-to-noise ratios."""
    distance: float
    """Mean cosine distance of CLIP's image features, which see what LPIPS sees: contents and texture, not pixels."""


def likeness(images: Images, originals: Images) -> Likeness:
    ratios = [
        psnr(one, other) if (one != other).any() else IDENTICAL_DB for one, other in zip(images, originals, strict=True)
    ]
    features, others = _features(images), _features(originals)
    cosines = (features * others).sum(-1)
    return Likeness(median(ratios), min(ratios), float(1 - cosines.mean()))


def judged(images: Images, pairs: Sequence[Pair]) -> float:
    """The share of images in which the miniature's judge sees what was asked for."""
    return concept_share(load_judge(), Samples(np.stack(images), list(pairs)))


@torch.no_grad()
def _features(images: Images) -> torch.Tensor:
    model, processor = _clip()
    pixels = processor(images=[(image * 255).round().astype(np.uint8) for image in images], return_tensors="pt")
    features: Any = model.get_image_features(**pixels)
    features = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(features, dim=-1)


@cache
def _clip() -> tuple[CLIPModel, CLIPImageProcessorPil]:
    folder = CHECKPOINT / "clip"
    return CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPImageProcessorPil.from_pretrained(folder)
