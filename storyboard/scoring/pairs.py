"""How well a picture shows what a text says."""

from __future__ import annotations

from PIL import Image

from models.catalogue.sources import Source

Pair = tuple[Image.Image, str]
Asked = tuple[Source, Pair]
"""A pair, and the CLIP that is to compare it."""
