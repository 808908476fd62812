"""Super-resolution models of files: what is read, what they make, and that tiles are what the whole image becomes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core.errors import Busy, LoadFailed
from core.generation.upscaling import UpscaleFactor
from core.pixels.tiles import TILE_PX, TILES_A_PASS
from gateway.upscaling import Upscaler
from models.catalogue.sources import Source
from models.weights.upscaling import UpscalingModel
from runners.upscaling.wire import AskedTile
from tests.support.engine.drawing import largest_difference
from tests.support.pickles import Attack
from tests.support.storyboard.clips import noise
from tests.tiny.upscalers import NEEDS_SPANDREL, compact

pytestmark = NEEDS_SPANDREL


def loaded(folder: Path, scale: int, seed: int | None = None) -> UpscalingModel:
    save_file(compact(scale, seed), folder / "model.safetensors")
    return UpscalingModel.load(Source(path=folder / "model.safetensors"), "cpu")


def squares(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def difference(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return largest_difference(one, other)


@pytest.mark.parametrize(("scale", "factor"), [(2, 2), (4, 4), (2, 4), (4, 2), (3, 4)])
def test_a_model_of_any_scale_upscales_by_the_factor(tmp_path: Path, scale: int, factor: int) -> None:
    grey = Image.new("RGB", (20, 12), "#405060")
    images = [noise(1, 20, 12), grey]
    upscaled = loaded(tmp_path, scale).upscaled(images, factor)
    assert [image.size for image in upscaled] == [(20 * factor, 12 * factor)] * 2
    assert difference(upscaled[1], squares(grey, factor)) == 0
    if factor % scale == 0:
        assert difference(upscaled[0], squares(images[0], factor)) == 0


def test_what_a_model_has_made_larger_takes_no_larger_passes(tmp_path: Path) -> None:
    model, shapes = loaded(tmp_path, 2), list[tuple[int, ...]]()
    model.net.network.register_forward_pre_hook(lambda _, arguments: shapes.append(tuple(arguments[0].shape)))
    model.upscaled([Image.new("RGB", (TILE_PX, TILE_PX))] * TILES_A_PASS, 4)
    tiles = TILES_A_PASS // 2**2
    assert shapes == [(TILES_A_PASS, 3, TILE_PX, TILE_PX), *[(tiles, 3, 2 * TILE_PX, 2 * TILE_PX)] * 4]


async def test_a_tile_that_fails_ends_the_others() -> None:
    """The last of three: the others would go on unseen behind an answer that is an error."""
    ended: list[int] = []

    async def upscale(tile: AskedTile) -> Image.Image:
        if tile.image.getpixel((0, 0)) == (0, 0, 0):
            raise Busy("away")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(tile.image.width)
        raise AssertionError

    image = Image.new("RGB", (2 * TILE_PX, 40), "white")
    image.putpixel((TILE_PX, 0), (0, 0, 0))
    with pytest.raises(Busy, match="away"):
        async with asyncio.timeout(5):
            await Upscaler("tiny", upscale).upscaled(image, UpscaleFactor.TWO)
    assert ended == [TILE_PX] * 2


def test_it_is_the_architecture_with_the_weights_of_the_file(tmp_path: Path) -> None:
    from spandrel.architectures.Compact import Compact

    state, image = compact(2, seed=5), noise(3)
    plain = Compact(num_feat=8, num_conv=1, upscale=2)
    plain.load_state_dict(state)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None] / 255
    with torch.no_grad():
        expected = (plain(pixels)[0].clamp(0, 1) * 255).round().to(torch.uint8)
    (upscaled,) = loaded(tmp_path, 2, seed=5).upscaled([image], 2)
    assert difference(upscaled, Image.fromarray(expected.permute(1, 2, 0).numpy())) == 0
    assert difference(upscaled, squares(image, 2)) > 10


async def test_tiles_are_what_the_whole_image_becomes(tmp_path: Path) -> None:
    model = loaded(tmp_path, 2, seed=7)

    async def upscale(tile: AskedTile) -> Image.Image:
        return model.upscaled([tile.image], tile.factor)[0]

    image = noise(4, 2 * TILE_PX + 40, TILE_PX + 90)
    upscaled = await Upscaler("tiny", upscale).upscaled(image, UpscaleFactor.TWO)
    # Where two tiles are blended, shades are rounded twice.
    assert difference(upscaled, model.upscaled([image], 2)[0]) <= 1


@pytest.mark.parametrize("wrapped", [False, True])
def test_pickles_of_tensors_alone_are_read(tmp_path: Path, wrapped: bool) -> None:
    state = compact(2)
    torch.save({"params_ema": state} if wrapped else state, tmp_path / "RealESRGAN_tiny.pth")
    image = noise(1)
    (upscaled,) = UpscalingModel.load(Source(path=tmp_path), "cpu").upscaled([image], 2)
    assert difference(upscaled, squares(image, 2)) == 0


class TestWhatIsRefused:
    def test_a_pickle_that_runs_code(self, tmp_path: Path) -> None:
        torch.save({"body.0.weight": Attack(tmp_path / "proof")}, tmp_path / "model.pth")
        with pytest.raises(LoadFailed, match="holds more than tensors"):
            UpscalingModel.load(Source(path=tmp_path / "model.pth"), "cpu")
        assert not (tmp_path / "proof").exists()

    def test_what_no_architecture_has(self, tmp_path: Path) -> None:
        save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
        with pytest.raises(LoadFailed, match=r"model.safetensors is of no architecture that spandrel \S+ knows"):
            UpscalingModel.load(Source(path=tmp_path), "cpu")

    def test_what_does_not_upscale(self, tmp_path: Path) -> None:
        with pytest.raises(LoadFailed, match="makes no colour image larger"):
            loaded(tmp_path, 1)

    def test_a_folder_of_several(self, tmp_path: Path) -> None:
        for name in ("one.pth", "two.safetensors"):
            (tmp_path / name).touch()
        with pytest.raises(LoadFailed, match="2 files of weights"):
            UpscalingModel.load(Source(path=tmp_path), "cpu")

    @pytest.mark.parametrize("content", [b"", b"no zip", torch.zeros(1).numpy().tobytes()])
    def test_damaged_files(self, tmp_path: Path, content: bytes) -> None:
        for name in ("model.pth", "model.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(LoadFailed, match=r"model\.\w+ "):
                UpscalingModel.load(Source(path=tmp_path / name), "cpu")


def test_nothing_stays_of_what_stands_in_for_torchvision(tmp_path: Path) -> None:
    before = {name for name in sys.modules if name.partition(".")[0] == "torchvision"}
    loaded(tmp_path, 2)
    assert {name for name in sys.modules if name.partition(".")[0] == "torchvision"} == before
