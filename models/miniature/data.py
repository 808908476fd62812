"""Training pictures: emoji composited on shaded backgrounds, whole or made unreadable on purpose."""

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .concepts import COLOURS, CONCEPTS, Pair

PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
ARCHIVE = "lobehub-fluent-emoji-3d-1.1.0.tgz"
SIZE_PX = 128

PixelArray = np.ndarray  # (h, w, 3) uint8


@dataclass(frozen=True)
class SpritePlacement:
    """The variation of composites: the object's side as a share of the picture, and the shift of its centre."""

    scale: tuple[float, float] = (0.84, 0.90)
    shift_px: int = 4


GENERATOR_PLACEMENT = SpritePlacement()
READER_PLACEMENT = SpritePlacement(scale=(0.72, 0.98), shift_px=8)


def fetch_emoji(work: Path) -> Path:
    """Download the emoji package into ``work`` with npm, once; returns the archive."""
    archive = work / ARCHIVE
    if not archive.exists():
        subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=work, check=True)
    return archive


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is a folder"
    return file.read()


class Sprites:
    """The concepts' emoji as RGBA arrays, resized on demand and kept."""

    def __init__(self, archive: Path):
        with tarfile.open(archive) as tar:
            self._full = {
                concept: Image.open(io.BytesIO(_read(tar, f"package/assets/{code}.webp"))).convert("RGBA")
                for concept, code in CONCEPTS.items()
            }
        self._resized: dict[tuple[str, int], np.ndarray] = {}

    def get(self, concept: str, side_px: int) -> np.ndarray:
        """One sprite, (side_px, side_px, 4) uint8."""
        key = (concept, side_px)
        if key not in self._resized:
            image = self._full[concept].resize((side_px, side_px), Image.Resampling.LANCZOS)
            self._resized[key] = np.asarray(image)
        return self._resized[key]


def background(colour: str, rng: np.random.Generator) -> np.ndarray:
    """A plain colour that darkens a little towards the bottom, (SIZE_PX, SIZE_PX, 3) float in 0..255."""
    shade = np.linspace(1.0, 1.0 - rng.uniform(0.03, 0.10), SIZE_PX)
    column = shade[:, None] * np.asarray(COLOURS[colour], dtype=np.float64)
    return np.repeat(column[:, None, :], SIZE_PX, axis=1)


def paste(canvas: np.ndarray, sprite: np.ndarray, top: int, left: int) -> None:
    """Blend an RGBA sprite into the float canvas, in place, cropping what sticks out."""
    side = sprite.shape[0]
    rows = slice(max(top, 0), min(top + side, SIZE_PX))
    columns = slice(max(left, 0), min(left + side, SIZE_PX))
    part = sprite[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    alpha = part[..., 3:] / 255.0
    canvas[rows, columns] += alpha * (part[..., :3] - canvas[rows, columns])


def composite(
    sprites: Sprites, pair: Pair, rng: np.random.Generator, placement: SpritePlacement = GENERATOR_PLACEMENT
) -> PixelArray:
    """One picture of a concept on a shaded background."""
    concept, colour = pair
    canvas = background(colour, rng)
    side = round(rng.uniform(*placement.scale) * SIZE_PX)
    margin = (SIZE_PX - side) // 2
    top, left = margin + rng.integers(-placement.shift_px, placement.shift_px + 1, size=2)
    paste(canvas, sprites.get(concept, side), int(top), int(left))
    return canvas.clip(0, 255).astype(np.uint8)


def shuffle_blocks(picture: PixelArray, block_px: int, rng: np.random.Generator) -> PixelArray:
    """A picture's blocks in random order, which keeps its colours and destroys shapes."""
    count = picture.shape[0] // block_px
    blocks = picture.reshape(count, block_px, count, block_px, 3).swapaxes(1, 2).reshape(-1, block_px, block_px, 3)
    blocks = blocks[rng.permutation(len(blocks))]
    return blocks.reshape(count, count, block_px, block_px, 3).swapaxes(1, 2).reshape(picture.shape)


def blur(picture: PixelArray, cells: int) -> PixelArray:
    """A picture reduced to ``cells`` x ``cells`` values per channel, and enlarged again."""
    side = picture.shape[0]
    small = Image.fromarray(picture).resize((cells, cells), Image.Resampling.BOX)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def spoil(picture: PixelArray, rng: np.random.Generator) -> PixelArray:
    """Make a picture's object unreadable by a random method."""
    if rng.random() < 0.65:
        return shuffle_blocks(picture, int(rng.choice([8, 16, 32])), rng)
    return blur(picture, int(rng.integers(4, 7)))
