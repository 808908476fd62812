"""What the thread that makes images of results does with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from torch.utils._python_dispatch import TorchDispatchMode

from core.generation.events import Clip, Picture
from runners.engine.delivery import PipelineOutput, as_bytes
from runners.engine.device_copies import DeviceCopy

VIEWS = {"aten.unbind.int", "aten.select.int", "aten.detach.default"}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_those_of_diffusers(layout: torch.memory_format) -> None:
    pixels = torch.rand(1, 3, 8, 12).to(memory_format=layout)
    (theirs,) = VaeImageProcessor(do_normalize=False).postprocess(pixels, "pil")
    # As they leave a CPU, and a device that works by itself.
    for drawn in (PipelineOutput.of(0, 7, pixels, None), PipelineOutput(0, 7, DeviceCopy(as_bytes(pixels)), None)):
        (result,) = drawn.results()
        assert isinstance(result, Picture)
        assert result.image.tobytes() == theirs.tobytes()


def test_a_clip_has_all_frames() -> None:
    (result,) = PipelineOutput.of(1, 7, torch.rand(5, 3, 8, 12), 16).results()
    assert isinstance(result, Clip)
    assert [frame.size for frame in result.frames] == [(12, 8)] * 5
    assert not np.array_equal(np.asarray(result.frames[0]), np.asarray(result.frames[1]))


def test_layers_are_images_of_their_own() -> None:
    results = PipelineOutput.of(0, 7, torch.rand(3, 4, 8, 12), None).results()
    images = [result.image for result in results if isinstance(result, Picture)]
    assert [(result.index, result.seed) for result in results] == [(0, 7), (1, 7), (2, 7)]
    assert [image.mode for image in images] == ["RGBA"] * 3
    assert not np.array_equal(np.asarray(images[0]), np.asarray(images[1]))


def test_it_computes_nothing_by_torch() -> None:
    """Else it would have a team of threads beside the engine's, which takes its cores by waiting."""
    drawn = PipelineOutput.of(0, 7, torch.rand(1, 3, 8, 12), None)
    with Operations() as seen:
        drawn.results()
    assert set(seen.names) <= VIEWS


class Operations(TorchDispatchMode):
    """Remembers which operations torch is asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))
