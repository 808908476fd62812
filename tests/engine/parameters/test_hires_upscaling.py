"""A second pass over what an upscaling model made of the first: equal to the plain pipelines with it between them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from core.errors import LoadFailed
from core.generation.hires import SecondPass
from core.pixels.fitting import Size
from core.pixels.tiles import TILE_PX
from models.catalogue.sources import Source
from models.weights import upscaling
from models.weights.loading import LoadedModel
from models.weights.upscaling import UpscalingModel, UpscalingNet, configured_upscaler
from runners.engine import second_pass
from runners.engine.second_pass import resized_frames, upscaled
from settings import Settings
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE
from tests.tiny.upscalers import NEEDS_SPANDREL, compact

pytestmark = NEEDS_SPANDREL

SECOND = SecondPass(width=128, height=96, strength=0.6, num_inference_steps=5, upscaler="model")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpscalingNet:
    """The model that the settings name."""
    file = tmp_path / "tiny.safetensors"
    save_file(compact(2, seed=3), file)
    monkeypatch.setattr(upscaling, "settings", lambda: Settings(upscaler=str(file)))
    return UpscalingModel.load(Source(path=file), "cpu").net


def by(net: UpscalingNet, frames: torch.Tensor, size: Size) -> torch.Tensor:
    return resized_frames(net(frames), size)


async def test_both_passes_equal_the_plain_pipelines_and_share_the_model(
    tiny_model: LoadedModel, net: UpscalingNet
) -> None:
    wanted = [request(hires=SECOND), request(hires=SECOND, seed=9)]
    with running(tiny_model) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert [each.calls for each in recorder.of("upscaler")] == [2]
    for each, events in zip(wanted, drawn, strict=True):
        picture = pictures(events)[0].image
        assert largest_difference(picture, draw_plain(tiny_model, each, resize=partial(by, net))) <= TOLERANCE
        assert largest_difference(picture, draw_plain(tiny_model, each)) > TOLERANCE


def test_tiles_are_what_the_whole_becomes(net: UpscalingNet) -> None:
    frames = torch.rand(1, 3, TILE_PX + 50, 2 * TILE_PX + 20, generator=torch.Generator().manual_seed(1))
    size = (2 * frames.shape[3], 2 * frames.shape[2])
    shapes: list[torch.Size] = []

    def upscale(tile: torch.Tensor) -> torch.Tensor:
        shapes.append(tile.shape)
        with torch.no_grad():
            larger: torch.Tensor = net(tile)
            return larger

    assert (upscaled(frames, size, upscale) - net(frames)).abs().max() < 1e-5
    assert shapes == [(1, 3, TILE_PX, TILE_PX)] * 6


def test_a_model_of_a_smaller_factor_is_used_again(net: UpscalingNet) -> None:
    frames = torch.full((1, 3, 16, 24), 0.5)
    assert upscaled(frames, (72, 48), net).shape == (1, 3, 48, 72)


def test_what_would_fill_the_memory_is_reduced_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of eight times for one and a quarter, where memory has room for twice the sides."""
    sizes: list[torch.Size] = []

    def noting(frames: torch.Tensor, size: Size) -> torch.Tensor:
        sizes.append(frames.shape)
        return resized_frames(frames, size)

    monkeypatch.setattr(second_pass, "MOST_UPSCALED_PX", 4 * 40 * 300)
    monkeypatch.setattr(second_pass, "resized_frames", noting)
    frames = torch.linspace(0, 1, 300).expand(1, 3, 40, 300)
    made = upscaled(frames, (375, 50), lambda tile: F.interpolate(tile, scale_factor=8.0))
    assert sizes == [(1, 3, 80, 600)]
    assert (made - resized_frames(frames, (375, 50))).abs().max() < 0.01


def test_a_runner_without_the_setting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, "settings", lambda: Settings(upscaler=None))
    with pytest.raises(LoadFailed, match="JUBAKO_UPSCALER names no model here"):
        configured_upscaler("cpu")
