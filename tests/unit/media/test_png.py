"""PNG files of our own writing, read by Pillow, which checks all of their sums."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gateway.media import png
from gateway.media.png import png_of, png_of_strips

PICTURES = Path(__file__).parents[3] / "docs" / "pictures" / "miniature.jpg"


def image_of(width: int, height: int) -> Image.Image:
    """Return one that bends, with some noise."""
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    noise = np.random.default_rng(0).integers(0, 9, (height, width))
    return Image.fromarray(np.stack([across**2 // 50, down, across + down + noise], axis=-1).astype(np.uint8))


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "PART_BYTES", 1000)


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (400, 1), (10, 32), (10, 33), (50, 40), (500, 3)])
def test_every_pixel_and_text_is_kept(size: tuple[int, int]) -> None:
    image, text = image_of(*size), PngInfo()
    text.add_itxt("parameters", '{"prompt": "ein Äpfel 🍎"}')
    with Image.open(BytesIO(png_of(image, text))) as file:
        assert (file.mode, file.info) == ("RGB", {"parameters": '{"prompt": "ein Äpfel 🍎"}'})
        assert file.tobytes() == image.tobytes()


@pytest.mark.usefixtures("_small_parts")
def test_transparency_is_kept() -> None:
    image = image_of(50, 40)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    with Image.open(BytesIO(png_of(image, PngInfo()))) as file:
        assert (file.mode, file.tobytes()) == ("RGBA", image.tobytes())


@pytest.mark.parametrize("height", [1, 7, 20])
def test_strips_of_any_height_are_the_image(height: int) -> None:
    image = image_of(30, 20)
    strips = (image.crop((0, top, 30, min(20, top + height))) for top in range(0, 20, height))
    with Image.open(BytesIO(png_of_strips(image.size, strips, PngInfo()))) as file:
        assert file.tobytes() == image.tobytes()


def test_generated_images_are_little_larger_than_pillow_writes_them() -> None:
    buffer = BytesIO()
    with Image.open(PICTURES) as file:
        image = file.convert("RGB").crop((0, 0, 300, 300))
    image.save(buffer, "PNG", compress_level=4)
    assert len(png_of(image, PngInfo())) < 1.2 * len(buffer.getvalue())
