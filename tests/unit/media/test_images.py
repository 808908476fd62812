from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from core.errors import InvalidRequest
from gateway.media.reading.decoded_kinds import MASK
from gateway.media.reading.decoding import uploaded, uploaded_field, uploaded_files
from tests.support.image_files import BLUE, MAX_PX, RED, WHITE, close, colours, decoded, left_red_right_blue, saved


@pytest.mark.parametrize(
    "data",
    [
        saved(left_red_right_blue()),
        saved(left_red_right_blue("RGBA")),
        saved(left_red_right_blue("P")),
        saved(left_red_right_blue().quantize(2)),
        saved(left_red_right_blue(), "JPEG", quality=100, subsampling=0),
        saved(left_red_right_blue("CMYK"), "JPEG", quality=100, subsampling=0),
        saved(left_red_right_blue("CMYK"), "TIFF"),
        saved(left_red_right_blue(), "WEBP", lossless=True),
        saved(left_red_right_blue(), "BMP"),
        saved(left_red_right_blue(), "GIF"),
        saved(left_red_right_blue(), "AVIF", quality=100, subsampling="4:4:4"),
        saved(left_red_right_blue(), "HEIF", quality=100, chroma=444),
        saved(left_red_right_blue("RGBA"), "HEIF", quality=100, chroma=444),
        saved(left_red_right_blue(), "MPO", quality=100, subsampling=0, append_images=[left_red_right_blue()]),
    ],
    ids=[
        "png",
        "rgba",
        "web-palette",
        "palette",
        "jpeg",
        "cmyk-jpeg",
        "cmyk-tiff",
        "webp",
        "bmp",
        "gif",
        "avif",
        "heic",
        "heic-alpha",
        "phone-jpeg",
    ],
)
def test_every_kind_of_file_gives_the_same_rgb_picture(data: bytes) -> None:
    image = decoded(data)
    assert (image.mode, image.size) == ("RGB", (8, 4))
    assert close(image.getpixel((1, 1)), RED, 12)
    assert close(image.getpixel((6, 1)), BLUE, 12)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    ramp = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16)
    for data in (saved(Image.fromarray(ramp)), saved(Image.fromarray(ramp), "TIFF")):
        assert [decoded(data).getpixel((x, 0)) for x in range(4)] == [(v, v, v) for v in (0, 64, 128, 255)]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_two_tone_pictures_keep_their_tone(mode: str) -> None:
    image = decoded(saved(Image.new("L", (2, 2), 255).convert(mode)))
    assert image.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_images_are_turned_upright(orientation: int, file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.media.reading.strips.STRIP_PX", 40)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    by_format: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = by_format.get(file_format, {})
    data = saved(colours(20, 12), file_format, exif=exif, **options)
    with Image.open(BytesIO(data)) as file:
        wanted = ImageOps.exif_transpose(file).convert("RGB")
    upload = uploaded(data, "image", MAX_PX)
    assert upload.size == wanted.size
    assert upload.open().tobytes() == wanted.tobytes()


def test_transparency_shows_white() -> None:
    half = Image.new("RGBA", (2, 2), (*RED, 0))
    half.putpixel((0, 0), (*RED, 255))
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((1, 1), 1)
    for data in (saved(half), saved(palette, transparency=1)):
        assert decoded(data).getpixel((0, 0)) == RED
        assert decoded(data).getpixel((1, 1)) == WHITE


def test_of_an_animation_the_first_frame_is_taken() -> None:
    second = Image.new("RGB", (8, 4), (0, 255, 0))
    image = decoded(saved(left_red_right_blue(), "GIF", save_all=True, append_images=[second]))
    assert close(image.getpixel((1, 1)), RED)


def bomb(width: int, height: int) -> bytes:
    """A valid PNG header of any size, with no pixels behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PNG = saved(Image.effect_noise((64, 64), 50))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.4", "not an image"),
        (saved(left_red_right_blue(), "ICO"), "not an image"),
        (PNG[: len(PNG) // 2], "damaged or incomplete"),
        (saved(left_red_right_blue("RGB").resize((64, 64)), "JPEG")[:-200], "damaged or incomplete"),
        (PNG[:200] + bytes(50) + PNG[250:], "damaged or incomplete"),
        (bomb(101, 100), "101 x 100 pixels; at most 10000"),
        (bomb(65535, 65535), "pixels; at most 10000"),
        (saved(Image.new("F", (2, 2)), "TIFF"), "floating-point"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "pdf",
        "ico",
        "half-png",
        "short-jpeg",
        "broken-png",
        "large",
        "bomb",
        "float",
    ],
)
def test_what_cannot_be_used_is_refused_with_the_field(data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as error:
        uploaded(data, "mask", MAX_PX)
    assert error.value.field == "mask"


def test_files_that_come_together_have_their_pixels_together() -> None:
    file = saved(Image.new("RGB", (30, 20)))
    assert [upload.size for upload in uploaded_files([file] * 2, "images", 1200)] == [(30, 20)] * 2
    with pytest.raises(InvalidRequest, match=r"images: has 30 x 20 pixels; at most 599 in all are allowed"):
        uploaded_files([file] * 2, "images", 1199)
    with pytest.raises(InvalidRequest, match="images: 3 were given; at most 2 are allowed"):
        uploaded_files([file] * 3, "images", 10**6, most=2)


def test_a_mask_is_white_where_it_repaints_and_transparency_keeps() -> None:
    strokes = Image.new("RGBA", (3, 1), (255, 255, 255, 0))
    strokes.putpixel((0, 0), (255, 255, 255, 255))
    strokes.putpixel((1, 0), (0, 0, 0, 255))
    mask = uploaded(saved(strokes), "mask", MAX_PX, MASK).open()
    assert (mask.mode, list(mask.tobytes())) == ("L", [255, 0, 0])


def test_a_coloured_mask_counts_by_brightness() -> None:
    mask = uploaded(saved(Image.new("RGB", (1, 1), WHITE)), "mask", MAX_PX, MASK).open()
    assert list(mask.tobytes()) == [255]


def test_a_field_of_one_image_needs_one() -> None:
    assert uploaded_field("images", [], MAX_PX) == []
    with pytest.raises(InvalidRequest, match="reference_image: is an empty list"):
        uploaded_field("reference_image", [], MAX_PX)


def test_several_images_share_the_limit_on_pixels() -> None:
    file = saved(Image.new("RGB", (10, 10)))
    assert isinstance(uploaded_field("images", [file] * 3, 300), list)
    with pytest.raises(InvalidRequest, match="images: has 10 x 10 pixels"):
        uploaded_field("images", [file] * 4, 399)
