"""Images of many megapixels: what they become, and how much memory they take on the way."""

from __future__ import annotations

import threading
from io import BytesIO
from mmap import mmap

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFile, ImageStat

from core.errors import InvalidRequest
from core.generation.events import Picture
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from core.pixels.upload import UploadedImage
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.kept_pixels import inpainted_png
from gateway.media.reading.budget import Budget
from gateway.media.reading.decoded_kinds import CUTOUT, MASK, DecodedKind
from gateway.media.reading.decoding import BUDGET, WHOLE_PX, hole_in, uploaded
from gateway.media.reading.spooling import IN_MEMORY_BYTES, spooled
from gateway.media.reading.uploads import with_pixels
from tests.support.image_files import colours, saved
from tests.support.metadata import read_parameters
from tests.support.servers.serving import photo

MAX_PX = 64_000_000
LARGE = (3300, 2600)
"""A little more than WHOLE_PX."""


def test_ordinary_images_are_resized_as_ever() -> None:
    image = colours(400, 300)
    upload = uploaded(saved(image), "image", MAX_PX)
    assert upload.open().tobytes() == image.tobytes()
    assert upload.resized(64, 96).open() == image.resize((64, 96), Image.Resampling.LANCZOS)


def large(mode: str) -> Image.Image:
    assert LARGE[0] * LARGE[1] > WHOLE_PX
    image = colours(*LARGE)
    if mode == "RGBA":
        image.putalpha(image.getchannel("R"))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("I;16", "PNG"),
        ("L", "JPEG"),
        ("RGB", "JPEG"),
        ("RGB", "TIFF"),
        ("CMYK", "JPEG"),
    ],
)
def test_large_images_are_reduced_on_the_way(mode: str, file_format: str) -> None:
    image = large(mode)
    upload = uploaded(saved(image, file_format), "image", MAX_PX)
    small = upload.resized(192, 256).open()
    wanted = _flat(image).resize((192, 256), Image.Resampling.LANCZOS)
    assert small.mode == "RGB"
    assert max(ImageStat.Stat(ImageChops.difference(small, wanted)).mean) < 1


def _flat(image: Image.Image) -> Image.Image:
    if image.mode == "I;16":
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@pytest.mark.parametrize("kind", [MASK, CUTOUT])
def test_large_masks_stay_hard(kind: DecodedKind) -> None:
    image = Image.new("RGBA", LARGE, (0, 0, 0, 255))
    image.paste((255, 255, 255, 0) if kind is CUTOUT else (255, 255, 255, 255), (0, 0, 1000, 2600))
    mask = uploaded(saved(image), "mask", MAX_PX, kind).resized(330, 260).open()
    assert set(mask.getcolors() or ()) == {(100 * 260, 255), (230 * 260, 0)}


def test_what_must_be_decoded_at_once_and_is_too_large_is_refused_with_its_limit() -> None:
    data = saved(Image.new("RGB", (6000, 6000)), "WEBP", lossless=True, method=0)
    with pytest.raises(InvalidRequest, match=r"image: has 6000 x 6000 pixels; of a WEBP file like this, at most \d+"):
        uploaded(data, "image", MAX_PX)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_no_pixels_are_loaded_without_their_memory(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    load = ImageFile.ImageFile.load

    def watched(file: ImageFile.ImageFile) -> object:
        held.append(BUDGET._free_bytes < BUDGET.total_bytes)
        return load(file)

    image = colours(64, 48)
    if file_format != "JPEG":
        image.putalpha(0)
    data = saved(image, file_format)
    monkeypatch.setattr(ImageFile.ImageFile, "load", watched)
    for fit in Fit:
        uploaded(data, "image", MAX_PX).resized(16, 16, fit).open()
    hole_in(data, "image", MAX_PX)
    assert held
    assert all(held)


class TestInpaintedFiles:
    def test_large_ones_keep_the_upload_and_carry_their_parameters(self) -> None:
        image, hole = large("RGB"), Image.new("L", LARGE, 0)
        hole.paste(255, (1000, 500, 2000, 1500))
        upload = uploaded(saved(image), "image", MAX_PX, whole=True)
        mask = uploaded(saved(hole), "mask", MAX_PX, MASK, whole=True)
        picture = Picture(0, 7, photo())
        data = inpainted_png(request(upload, mask), picture, upload, mask)
        wanted = Image.composite(picture.image.resize(LARGE, Image.Resampling.LANCZOS), image, hole)
        with Image.open(BytesIO(data)) as file:
            difference = ImageChops.difference(file, wanted)
        assert max(high for _, high in difference.getextrema()) <= 1  # type: ignore[misc]  # three bands
        outside = difference.copy()
        outside.paste((0, 0, 0), mask=hole)
        assert outside.getbbox() is None
        with Image.open(BytesIO(data)) as file:
            assert read_parameters(file)["seed"] == 7

    def test_ordinary_ones_are_composed_in_whole(self) -> None:
        image, hole = colours(96, 64), Image.linear_gradient("L").resize((96, 64))
        upload = uploaded(saved(image), "image", MAX_PX, whole=True)
        mask = uploaded(saved(hole), "mask", MAX_PX, MASK, whole=True)
        picture = Picture(0, 7, photo())
        composed = Image.composite(picture.image.resize((96, 64), Image.Resampling.LANCZOS), image, hole)
        wanted = encode_result(request(upload, mask), Picture(0, 7, composed), OutputFormat.PNG, 100)
        assert inpainted_png(request(upload, mask), picture, upload, mask) == wanted


def request(image: UploadedImage, mask: UploadedImage) -> GenerationRequest:
    return GenerationRequest(
        model="tiny",
        task=Task.INPAINT,
        prompt="a red apple",
        width=64,
        height=64,
        num_inference_steps=2,
        guidance_scale=2.0,
        seed=1,
        scheduler="euler",
        image=image.resized(64, 64),
        mask=mask.resized(64, 64),
    )


async def test_a_request_has_pixels_only_when_a_runner_gets_it() -> None:
    upload, mask = uploaded(saved(colours(96, 64)), "image", MAX_PX), uploaded(saved(photo()), "mask", MAX_PX, MASK)
    waiting = request(upload, mask)
    sent = await with_pixels(waiting)
    assert isinstance(waiting.image, UploadedImage)
    assert isinstance(sent.image, Image.Image)
    assert isinstance(sent.mask, Image.Image)
    assert (sent.image.size, sent.image.mode, sent.mask.mode) == ((64, 64), "RGB", "L")


def test_a_large_one_is_not_overtaken_for_ever_and_everything_is_given_back() -> None:
    budget, order = Budget(10), list[int]()
    threads = []

    def take(needed: int) -> None:
        with budget.of(needed):
            order.append(needed)

    with budget.of(6):
        for needed in (8, 3, 99):
            threads.append(threading.Thread(target=take, args=(needed,)))
            threads[-1].start()
            while len(budget._waiting) < len(threads):
                pass
        assert order == []
    for thread in threads:
        thread.join(10)
    assert order == [8, 3, 99]
    assert budget._free_bytes == 10


class TestKeptFiles:
    def test_large_ones_wait_on_disk_and_small_ones_in_memory(self) -> None:
        small, large = b"a" * IN_MEMORY_BYTES, b"a" * (IN_MEMORY_BYTES + 1)
        assert spooled(small) is small
        assert isinstance(spooled(large), mmap)
        assert bytes(spooled(large)) == large

    def test_what_waits_there_is_opened_as_ever(self) -> None:
        noise = Image.effect_noise((2400, 2400), 90)
        data = saved(noise)
        assert len(data) > IN_MEMORY_BYTES
        upload = uploaded(data, "image", 10**7)
        assert upload.file == data
        assert np.array_equal(np.asarray(upload.open()), np.asarray(noise.convert("RGB")))

    def test_without_a_disk_they_stay_in_memory(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full() -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("gateway.media.reading.spooling.TemporaryFile", full)
        large = b"a" * (IN_MEMORY_BYTES + 1)
        assert spooled(large) is large
        assert "No space left on device" in caplog.text
