"""CLIPs to score with, and images to be scored."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models.catalogue.sources import Source
from models.miniature.evaluate import CHECKPOINT
from tests.tiny.clip import tiny_clip

MINIATURE = Source(path=CHECKPOINT / "clip")


@pytest.fixture(scope="module")
def tiny_clip_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A CLIP with random weights."""
    return Source(path=tiny_clip(tmp_path_factory.mktemp("clip")))


def noise(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
