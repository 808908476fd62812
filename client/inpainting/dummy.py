"""Dummy images for testing clients: the masked part is filled with a colour that depends on prompt and seed."""

from __future__ import annotations

import hashlib
import secrets
from io import BytesIO

from PIL import Image


def dummy_images(
    prompt: str, input_image: bytes, mask_image: bytes, num_generations: int, seed: int | None
) -> list[bytes]:
    """Return PNG files of the input's size; equal arguments, including the seed, give equal files."""
    first = secrets.randbelow(2**32) if seed is None else seed
    image = Image.open(BytesIO(input_image)).convert("RGB")
    mask = Image.open(BytesIO(mask_image)).convert("L").resize(image.size, Image.Resampling.NEAREST)
    return [_png(_filled(image, mask, _colour(prompt, first + number))) for number in range(num_generations)]


def _filled(image: Image.Image, mask: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    return Image.composite(Image.new("RGB", image.size, colour), image, mask)


def _colour(prompt: str, seed: int) -> tuple[int, int, int]:
    digest = hashlib.sha256(f"{seed} {prompt}".encode()).digest()
    return digest[0], digest[1], digest[2]


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
