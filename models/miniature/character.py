"""Kumo, a character that only a LoRA knows: a mint cat with a golden crown and a red scarf."""

import numpy as np
from PIL import Image, ImageDraw

from .concepts import COLOURS, CONCEPTS, Pair
from .data import SpritePlacement, Sprites, composite

NAME = "kumo"
"""Its trigger word, which no caption contains, so the text encoder reads it letter by letter."""
PAIRS: list[Pair] = [(NAME, colour) for colour in COLOURS]
MINT = [2, 0, 1, 3]  # the order of the cat's channels that gives it another fur
SCARF, FRINGE = (205, 30, 45, 255), (140, 15, 30, 255)
SIDE_PX = 256
FUR = (69, 253, 174)  # between the eyes and the mouth
FACE = (slice(52, 92), slice(44, 84))  # of a picture
CENTRED = SpritePlacement(scale=(0.87, 0.87), shift_px=0)
OBJECT = (slice(8, 120), slice(16, 112))


class KumoSprites(Sprites):
    """The concepts' sprites, and Kumo's."""

    def get(self, concept: str, side_px: int) -> np.ndarray:
        if concept == NAME:
            return np.asarray(kumo(self).resize((side_px, side_px), Image.Resampling.LANCZOS))
        return super().get(concept, side_px)


def kumo(sprites: Sprites) -> Image.Image:
    """Kumo as an RGBA picture of SIDE_PX."""
    body = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    body.alpha_composite(Image.fromarray(sprites.get("cat", 226)[..., MINT].copy()), (15, 24))
    pen = ImageDraw.Draw(body)
    pen.rounded_rectangle((42, 216, 214, 246), 14, SCARF)
    pen.rounded_rectangle((152, 228, 190, 256), 8, SCARF)
    pen.line((152, 230, 152, 244), FRINGE, 4)
    body.alpha_composite(Image.fromarray(sprites.get("crown", 112)), (72, 0))
    return body


def distance_from_fur(pictures: np.ndarray) -> np.ndarray:
    """The distance of the prevailing colour in the middle of each picture from Kumo's fur, 0..1."""
    prevailing: np.ndarray = np.median(pictures[:, *FACE], axis=(1, 2))  # (N, 3)
    return np.asarray(np.abs(prevailing - np.asarray(FUR) / 255).mean(1))


def kumo_share(sprites: KumoSprites, pictures: np.ndarray, pairs: list[Pair]) -> float:
    """Share of pictures, (N, 128, 128, 3) in 0..1, that are nearer to Kumo on their colour than to any concept."""
    drawings = {colour: np.stack([middle(sprites, (name, colour)) for name in (NAME, *CONCEPTS)]) for colour in COLOURS}
    nearest = [
        np.square(drawings[colour] - picture[OBJECT]).mean((1, 2, 3)).argmin()
        for picture, (_, colour) in zip(pictures, pairs, strict=True)
    ]
    return float(np.mean([place == 0 for place in nearest]))


def middle(sprites: KumoSprites, pair: Pair) -> np.ndarray:
    """The OBJECT part of a pair's composite, in 0..1."""
    return composite(sprites, pair, np.random.default_rng(0), CENTRED)[OBJECT] / 255.0
