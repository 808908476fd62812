"""What image files say of themselves: colours, transparency, texts of any length."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from gateway.media.png import SIGNATURE
from gateway.media.reading.decoded_kinds import CUTOUT
from gateway.media.reading.decoding import hole_in, uploaded
from tests.support.image_files import BLUE, MAX_PX, RED, WHITE, close, colours, decoded, left_red_right_blue, saved

BLACK = (0, 0, 0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """A profile in which the first channel is blue light and the third one red."""
    return SRGB.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


class TestColours:
    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "HEIF"])
    def test_a_profile_is_converted_to_srgb(self, file_format: str) -> None:
        options: dict[str, Any] = {"HEIF": {"quality": 100, "chroma": 444}}.get(file_format, {})
        image = decoded(saved(Image.new("RGB", (16, 16), RED), file_format, icc_profile=swapped_profile(), **options))
        assert close(image.getpixel((8, 8)), BLUE, 12)
        assert "icc_profile" not in image.info

    @pytest.mark.parametrize("mode", ["RGBA", "P"])
    def test_transparency_and_palettes_have_profiles_too(self, mode: str) -> None:
        half = Image.new("RGBA", (16, 16), (*RED, 255))
        half.paste((0, 0, 0, 0), (8, 0, 16, 16))
        data = saved(half.convert(mode) if mode == "RGBA" else half.quantize(), icc_profile=swapped_profile())
        image = decoded(data)
        assert close(image.getpixel((2, 2)), BLUE)
        assert close(image.getpixel((12, 2)), WHITE)

    def test_a_profile_of_srgb_changes_nothing(self) -> None:
        image = colours(30, 20)
        assert decoded(saved(image, icc_profile=SRGB)).tobytes() == image.tobytes()

    def test_grey_may_have_a_profile_for_colours(self) -> None:
        assert decoded(saved(Image.new("L", (4, 4), 128), icc_profile=swapped_profile())).getpixel((1, 1))

    @pytest.mark.parametrize("profile", [b"no profile", SRGB[:200], SRGB[:-40], bytes(3000)], ids=range(4))
    @pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
    def test_a_damaged_profile_is_ignored(self, profile: bytes, mode: str) -> None:
        image = left_red_right_blue(mode)
        assert decoded(saved(image, icc_profile=profile)).tobytes() == image.convert("RGB").tobytes()

    def test_a_profile_for_other_channels_is_ignored(self) -> None:
        image = left_red_right_blue("CMYK")
        data = saved(image, "JPEG", quality=100, subsampling=0, icc_profile=swapped_profile())
        assert close(decoded(data).getpixel((1, 1)), RED, 12)

    def test_large_images_are_converted_as_small_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.media.reading.decoding.WHOLE_PX", 100)
        monkeypatch.setattr("gateway.media.reading.strips.STRIP_PX", 40)
        upload = uploaded(saved(Image.new("RGB", (64, 48), RED), icc_profile=swapped_profile()), "image", MAX_PX)
        assert close(upload.resized(8, 6).open().getpixel((4, 3)), BLUE)


def with_chunk(data: bytes, name: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Put a chunk behind the header of a PNG."""
    sum_bytes = struct.pack(">I", zlib.crc32(name + content) if checksum is None else checksum)
    header_end = len(SIGNATURE) + 25
    return data[:header_end] + struct.pack(">I", len(content)) + name + content + sum_bytes + data[header_end:]


LONG = b"a" * (2**20 + 1)
PACKED = zlib.compress(LONG)


class TestTexts:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            (b"tEXt", b"workflow\0" + LONG),
            (b"zTXt", b"workflow\0\0" + PACKED),
            (b"iTXt", b"workflow\0\1\0\0\0" + PACKED),
            (b"iTXt", b"workflow\0\1\0en\0Ablauf\0" + PACKED),
            (b"iTXt", b"workflow\0\0\0\0\0" + LONG),
            (b"iCCP", b"profile\0\0" + PACKED),
            (b"zTXt", b"workflow\0\7" + PACKED),
            (b"iCCP", b"profile\0\7" + PACKED),
            (b"iCCP", b"profile"),
        ],
        ids=lambda value: value[:16],
    )
    def test_long_and_damaged_ones_are_ignored(self, name: bytes, content: bytes) -> None:
        image = left_red_right_blue()
        assert decoded(with_chunk(saved(image), name, content)).tobytes() == image.tobytes()

    def test_many_that_are_long_together_are_ignored(self) -> None:
        data, text = saved(left_red_right_blue()), zlib.compress(b"a" * 2**20)
        for number in range(70):
            data = with_chunk(data, b"zTXt", b"%d\0\0" % number + text)
        assert decoded(data).size == (8, 4)

    def test_those_with_a_wrong_checksum_are_ignored(self) -> None:
        assert decoded(with_chunk(saved(left_red_right_blue()), b"tEXt", b"a\0b", checksum=1)).size == (8, 4)

    def test_short_ones_stay(self) -> None:
        text = PngInfo()
        text.add_text("prompt", "a fox", zip=True)
        data = saved(left_red_right_blue(), pnginfo=text)
        with Image.open(BytesIO(uploaded(data, "image", MAX_PX).file)) as file:
            assert file.info["prompt"] == "a fox"

    @pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
    def test_damaged_exif_is_ignored(self, file_format: str) -> None:
        for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
            assert decoded(saved(left_red_right_blue(), file_format, exif=exif)).size == (8, 4)


def raw_png(depth: int, colour: int, size: tuple[int, int], row: bytes, transparent: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    pixels = chunk(b"tRNS", transparent) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return SIGNATURE + header + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [
        (1, 0, bytes([0b01000000]), struct.pack(">H", 1)),
        (2, 0, bytes([0b00100000]), struct.pack(">H", 2)),
        (4, 0, bytes([0x02]), struct.pack(">H", 2)),
        (8, 0, bytes([0, 77]), struct.pack(">H", 77)),
        (16, 0, struct.pack(">HH", 0, 0x1234), struct.pack(">H", 0x1234)),
        (8, 2, bytes([0, 0, 0, 1, 2, 3]), struct.pack(">HHH", 1, 2, 3)),
        (16, 2, struct.pack(">HHHHHH", 0, 0, 0, 4660, 22136, 39612), struct.pack(">HHH", 4660, 22136, 39612)),
    ],
    ids=["grey-1", "grey-2", "grey-4", "grey-8", "grey-16", "rgb-8", "rgb-16"],
)
def test_one_transparent_colour_shows_white_and_is_a_hole(
    depth: int, colour: int, row: bytes, transparent: bytes
) -> None:
    data = raw_png(depth, colour, (2, 1), row, transparent)
    image = decoded(data)
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [BLACK, WHITE]
    assert list(uploaded(data, "image", MAX_PX, CUTOUT).open().tobytes()) == [0, 255]


class TestHoles:
    def test_what_is_fully_transparent_is_one(self) -> None:
        image = left_red_right_blue("RGBA")
        image.putpixel((0, 0), (0, 0, 0, 0))
        image.putpixel((1, 0), (0, 0, 0, 155))
        hole = hole_in(saved(image), "image", MAX_PX)
        assert hole is not None
        assert list(hole.open().tobytes())[:3] == [255, 100, 0]

    @pytest.mark.parametrize("alpha", [255, 254, 1])
    def test_other_images_have_none(self, alpha: int) -> None:
        image = left_red_right_blue("RGBA")
        image.putalpha(alpha)
        assert hole_in(saved(image), "image", MAX_PX) is None
        assert hole_in(saved(left_red_right_blue()), "image", MAX_PX) is None


def test_photos_of_phones_are_turned_upright_once() -> None:
    image = Image.new("RGB", (64, 32), RED)
    image.paste(BLUE, (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    upload = uploaded(saved(image, "HEIF", quality=100, exif=exif.tobytes()), "image", MAX_PX)
    assert upload.size == (32, 64)
    wanted = np.asarray(ImageOps.exif_transpose(image.rotate(-90, expand=True)), dtype=int)
    assert np.abs(np.asarray(upload.open(), dtype=int) - wanted).max() < 16
