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
