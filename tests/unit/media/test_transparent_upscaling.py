"""Transparency passes by the upscaling model, and pixels are converted beside the event loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from PIL import Image

from core.generation.upscaling import UpscaleFactor
from gateway.upscaling import Upscaler
from runners.upscaling.wire import AskedTile


async def doubled(tile: AskedTile) -> Image.Image:
    assert tile.image.mode == "RGB"
    return tile.image.resize((tile.image.width * 2, tile.image.height * 2), Image.Resampling.NEAREST)


async def test_transparency_is_taken_off_and_put_back_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: dict[str, set[int]] = {}

    def note(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            threads.setdefault(name, set()).add(threading.get_ident())
            return real(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    image = Image.new("RGBA", (20, 12), (200, 100, 0, 128))
    for name in ("convert", "getchannel", "putalpha", "split"):
        note(Image.Image, name)
    note(Image, "merge")
    upscaled = await Upscaler("tiny", doubled).upscaled(image, UpscaleFactor.TWO)
    assert threads
    assert threading.get_ident() not in set().union(*threads.values())
    assert (upscaled.mode, upscaled.size) == ("RGBA", (40, 24))
    assert upscaled.getcolors() == [(40 * 24, (200, 100, 0, 128))]
