"""How well a picture shows what a text says."""

from __future__ import annotations

from typing import Protocol

from PIL import Image

Pair = tuple[Image.Image, Image.Image | str]
"""What is compared."""


class Scorer(Protocol):
    async def score(self, image: Image.Image, text: str) -> float:
        """Return the cosine of CLIP's embeddings of the two, -1 to 1. Raises Busy when the scorer does not answer."""

    async def likeness(self, one: Image.Image, other: Image.Image) -> float:
        """Return the cosine of CLIP's embeddings of two pictures, -1 to 1. Raises Busy likewise."""
