"""How similar images are to those without a cache, and whether they still show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from models.miniature.captions import plain_caption
from models.miniature.concepts import Pair, held_out_pairs
from models.miniature.evaluate import CHECKPOINT, Samples, concept_share, psnr
from models.miniature.judge import load_judge

Images = Sequence[NDArray[np.float64]]
"""Each (h, w, 3) of 0 to 1."""
IDENTICAL_DB = 99.0


@dataclass(frozen=True)
class Likeness:
    """The likeness of images to those from the same seeds without a cache."""

    median_db: float
    worst_db: float
    """Peak signal-to-noise ratios."""
    distance: float
    """Mean cosine distance of CLIP's image features, which like LPIPS compare contents and texture, not pixels."""


@dataclass(frozen=True)
class Shown:
    """The shares of images that show what was asked for."""

    judged: float
    """According to the miniature's judge."""
    clip: float
    """According to CLIP: the image is closer to its own prompt than to that of any other held-out pair."""


def likeness(images: Images, originals: Images) -> Likeness:
    ratios = [
        psnr(one, other) if (one != other).any() else IDENTICAL_DB for one, other in zip(images, originals, strict=True)
    ]
    features, others = _image_features(images), _image_features(originals)
    cosines = (features * others).sum(-1)
    return Likeness(median(ratios), min(ratios), float(1 - cosines.mean()))


def shown(images: Images, pairs: Sequence[Pair]) -> Shown:
    own = torch.tensor([held_out_pairs().index(pair) for pair in pairs])
    nearest = (_image_features(images) @ _text_features().T).argmax(-1)
    return Shown(
        judged=concept_share(load_judge(), Samples(np.stack(images), list(pairs))),
        clip=float((nearest == own).float().mean()),
    )


@torch.no_grad()
def _image_features(images: Images) -> torch.Tensor:
    """Return (images, C), normalized."""
    model, processor = _clip()
    pixels = processor(images=[(image * 255).round().astype(np.uint8) for image in images], return_tensors="pt")
    return _normalized(model.get_image_features(**pixels))


@cache
@torch.no_grad()
def _text_features() -> torch.Tensor:
    """Return (held-out pairs, C), normalized."""
    tokenizer: Any = CLIPTokenizer.from_pretrained(CHECKPOINT / "tokenizer")
    captions = [plain_caption(*pair, 0) for pair in held_out_pairs()]
    # No mask: the tower is causal, so what follows a text's end does not change it.
    ids = tokenizer(captions, padding=True, return_tensors="pt").input_ids
    return _normalized(_clip()[0].get_text_features(input_ids=ids))


def _normalized(features: Any) -> torch.Tensor:
    return torch.nn.functional.normalize(getattr(features, "pooler_output", features), dim=-1)


@cache
def _clip() -> tuple[CLIPModel, CLIPImageProcessorPil]:
    folder = CHECKPOINT / "clip"
    return CLIPModel.from_pretrained(folder, dtype=torch.float32), CLIPImageProcessorPil.from_pretrained(folder)
