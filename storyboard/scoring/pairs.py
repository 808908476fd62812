"""How well a picture shows what a text says."""

from __future__ import annotations

from PIL import Image

Pair = tuple[Image.Image, Image.Image | str]
"""What is compared."""
