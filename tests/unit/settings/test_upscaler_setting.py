"""JUBAKO_UPSCALER: what it may name, and what a server says at the start about what it may not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from PIL import Image

from core.errors import StartError
from gateway.upscaling import NO_MODEL, upscaler_of
from runners.upscaling.service import refuse_unusable, upscaler_services
from runners.upscaling.wire import AskedTile
from settings import Settings


async def never(tile: AskedTile) -> Image.Image:
    raise AssertionError(tile)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("realesrgan", "write a file, or one of a hub repository"),
        ("https://example.org/4x.safetensors", "needs JUBAKO_MODEL_URLS=true"),
    ],
)
def test_what_it_may_not_name(named: str, says: str) -> None:
    with pytest.raises(StartError, match=says):
        upscaler_services(Settings(upscaler=named))


@pytest.mark.skipif(find_spec("spandrel") is not None, reason="is about a machine without it")
def test_a_model_needs_its_extra() -> None:
    with pytest.raises(StartError, match=r"pip install --no-deps -r constraints-upscale\.txt"):
        refuse_unusable(Settings(upscaler="someone/esrgan/4x.pth"))


@pytest.mark.parametrize(
    ("named", "name"),
    [
        (None, "Lanczos"),
        ("./4xNomos.safetensors", "4xNomos"),
        ("someone/esrgan/RealESRGAN_x4plus.pth", "RealESRGAN_x4plus"),
        ("someone/esrgan", "esrgan"),
        ("https://example.org/files/2xFast.pth", "2xFast"),
    ],
)
def test_answers_call_a_model_by_its_file(named: str | None, name: str) -> None:
    upscaler = upscaler_of(Settings(upscaler=named), never)
    assert (upscaler.name, upscaler.hint) == (name, NO_MODEL if named is None else None)


def test_without_one_there_is_no_service() -> None:
    assert upscaler_services(Settings()) == {}
