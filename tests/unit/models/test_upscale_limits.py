"""How large upscaled images may become, and which results are upscaled."""

from __future__ import annotations

import pytest

from core.errors import InvalidRequest
from core.generation.upscaling import MOST_UPSCALED_PX, UpscaleFactor, upscaled_size


def test_the_largest_and_one_that_is_larger() -> None:
    assert upscaled_size((2048, 1024), UpscaleFactor.FOUR) == (8192, 4096)
    with pytest.raises(InvalidRequest, match="makes 8192 x 4100 pixels") as refused:
        upscaled_size((2048, 1025), UpscaleFactor.FOUR, "image")
    assert refused.value.field == "image"
    assert f"at most {MOST_UPSCALED_PX}" in refused.value.message


def test_no_side_is_longer_than_any_file_format_has() -> None:
    assert upscaled_size((8191, 500), UpscaleFactor.TWO) == (16382, 1000)
    with pytest.raises(InvalidRequest, match="makes 16384 x 1000 pixels; a side has at most 16383"):
        upscaled_size((8192, 500), UpscaleFactor.TWO)
