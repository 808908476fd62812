"""Comparisons survive the hop to the scorer, and nothing else does."""

from __future__ import annotations

import pytest
from PIL import Image

from models.catalogue.sources import Source
from storyboard.scoring.wire import decode_asked, encode_asked

SOURCE = Source(repo="openai/clip-vit-large-patch14")
IMAGE = Image.linear_gradient("L").convert("RGB").resize((6, 4))


def test_round_trip() -> None:
    pair = IMAGE, "ein Äpfel\n🍎"
    assert decode_asked(encode_asked(SOURCE, pair)) == (SOURCE, pair)


FRAME = encode_asked(SOURCE, (IMAGE, "an apple"))


@pytest.mark.parametrize(
    "frame", [b"", b"garbage", FRAME[:-1], FRAME + b"\0", FRAME.replace(b"[6,4]", b"[100000,100000]")]
)
def test_what_is_no_comparison_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # pydantic's, or ours
        decode_asked(frame)
