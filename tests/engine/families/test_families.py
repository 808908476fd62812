"""Every family: its requests share passes, and each picture equals the plain pipeline's.

The tolerance is one step in 255: batched float32 arithmetic sums in another order (about 1e-6 a pixel), which
rounding to 8 bits can turn into one step. Sound, which has 16 bits, may differ by the same share of what is loudest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from models.catalogue.families import FAMILIES
from tests.support.engine.parity import SOUND_TOLERANCE, TOLERANCE, compare
from tests.tiny import TINY
from tests.tiny.images.glm_image import shorten_previews
from tests.tiny.images.qwen_image import shrink_inputs
from tests.tiny.videos.hunyuan_video import shorten_texts
from tests.tiny.videos.ltx2 import perturb_last_block


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_inputs(monkeypatch)
    shorten_texts(monkeypatch)
    shorten_previews(monkeypatch)
    perturb_last_block(monkeypatch)


@pytest.mark.parametrize("family", TINY)
async def test_a_crowd_of_all_tasks_is_drawn_as_alone(family: str, tmp_path: Path) -> None:
    results = await compare(family, tmp_path)
    assert max(result.difference for result in results) <= TOLERANCE
    assert all((result.sound_difference is None) == (FAMILIES[family].vocoder is None) for result in results)
    assert max(result.sound_difference or 0 for result in results) <= SOUND_TOLERANCE
    assert all(result.largest_batch > 1 for result in results), "nothing was shared"
