"""How well a picture shows what a text says."""

from __future__ import annotations

from PIL import Image

from models.catalogue.sources import Source

ImageTextPair = tuple[Image.Image, str]
ScoringRequest = tuple[Source, ImageTextPair]
"""A pair, and the CLIP that is to compare it."""
