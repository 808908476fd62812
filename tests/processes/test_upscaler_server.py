"""A server with an upscaling model: what it makes in each contract, in batches, and what it says without the file."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image
from safetensors.torch import save_file

from core.generation.upscaling import UpscaleFactor
from core.pixels.tiles import TILE_PX
from gateway.upscaler_client import UpscalerClient
from models.catalogue.sources import Source
from models.weights.upscaling import UpscalingModel
from runners.upscaling.wire import AskedTile
from tests.support.engine.drawing import largest_difference
from tests.support.image_files import saved
from tests.support.metadata import read_parameters
from tests.support.servers.process_tree import started_by
from tests.support.servers.serving import serving, wait_for, write_tiny_catalogue
from tests.support.storyboard.clips import noise
from tests.support.web import client_of
from tests.tiny.upscalers import NEEDS_SPANDREL, compact

pytestmark = NEEDS_SPANDREL

NAME = "tiny-compact"
ASKED = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model will be, once a test has asked for it in vain."""
    return tmp_path_factory.mktemp("upscaler") / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def started(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("server")
    catalogue = write_tiny_catalogue(folder)
    with serving(catalogue, folder / "log", models="tiny", upscaler=str(file)) as url, client_of(url) as client:
        yield client


@pytest.fixture(scope="module")
def http(started: httpx.Client, file: Path) -> httpx.Client:
    """The server, with its model's file."""
    refused = started.post("/text_to_image", json={**ASKED, "upscale": 2})
    assert (refused.status_code, refused.json()["code"]) == (500, "load_failed")
    assert f"upscale: the upscaling model cannot be loaded: there is no .../{file.name}" in refused.json()["error"]
    save_file(compact(4, seed=3), file)
    wait_for(lambda: started.post("/upscale", files={"image": saved(noise(1))}).status_code == 200)
    return started


@pytest.fixture(scope="module")
def model(http: httpx.Client, file: Path) -> UpscalingModel:
    return UpscalingModel.load(Source(path=file), "cpu")


def upscaler() -> psutil.Process:
    return next(iter(started_by(None, lambda command: "runner-upscaler" in command)))


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def difference(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return largest_difference(one.convert("RGB"), other)


def test_a_generated_image_goes_through_the_model(http: httpx.Client, model: UpscalingModel) -> None:
    plain = opened(http.post("/text_to_image", json=ASKED)).convert("RGB")
    response = http.post("/text_to_image", json={**ASKED, "upscale": 4})
    assert difference(opened(response), model.upscaled([plain], 4)[0]) <= 1
    assert response.headers["X-Jubako-Upscaler"] == NAME
    assert "upscal" not in response.headers.get("X-Jubako-Hint", "")
    kept = read_parameters(opened(response))
    assert http.post("/text_to_image", json=kept).content == response.content


def test_any_image_does_tile_by_tile(http: httpx.Client, model: UpscalingModel) -> None:
    image = noise(2, TILE_PX + 60, TILE_PX + 20)
    response = http.post("/upscale", files={"image": saved(image)}, data={"upscale": "2"})
    assert difference(opened(response), model.upscaled([image], UpscaleFactor.TWO)[0]) <= 1
    assert (response.headers["X-Jubako-Upscaler"], response.headers.get("X-Jubako-Hint")) == (NAME, None)


def test_a1111_has_it_among_its_upscalers(http: httpx.Client, model: UpscalingModel) -> None:
    assert [each["name"] for each in http.get("/sdapi/v1/upscalers").json()] == ["None", "Lanczos", "Nearest", NAME]
    image = noise(3, 40, 32)
    body = {"image": base64.b64encode(saved(image)).decode(), "upscaler_1": NAME, "upscaling_resize": 3}
    answer = http.post("/sdapi/v1/extra-single-image", json=body)
    assert answer.status_code == 200, answer.text
    shown = Image.open(BytesIO(base64.b64decode(answer.json()["image"])))
    expected = model.upscaled([image], 4)[0].resize((120, 96), Image.Resampling.LANCZOS)
    assert difference(shown, expected) <= 1

    hires = {"enable_hr": True, "hr_scale": 1.25, "hr_upscaler": NAME.upper(), "hr_second_pass_steps": 2}
    drawn = http.post("/sdapi/v1/txt2img", json={"prompt": "a red apple", "seed": 7, "steps": 2, **hires})
    assert drawn.status_code == 200, drawn.text
    assert "hr_upscaler" not in drawn.headers.get("X-Jubako-Hint", "")
    image = Image.open(BytesIO(base64.b64decode(drawn.json()["images"][0])))
    kept = read_parameters(image)
    assert (image.size, kept["hires"]["upscaler"]) == ((80, 80), "model")
    by_lanczos = {**kept, "hires": {**kept["hires"], "upscaler": "lanczos"}}
    again, other = (opened(http.post("/text_to_image", json=fields)) for fields in (kept, by_lanczos))
    assert difference(again, image.convert("RGB")) == 0
    assert difference(other, image.convert("RGB")) > 0


async def test_tiles_of_several_callers_share_passes(http: httpx.Client, model: UpscalingModel) -> None:
    tiles = [AskedTile(noise(seed), UpscaleFactor.FOUR) for seed in range(24)]
    address = socket_of(upscaler())
    async with client(address) as one, client(address) as other:
        for tile in tiles[:14]:  # BentoML learns from so many how long a batch takes; they are run one by one.
            await one.upscaled(tile)
        await other.upscaled(tiles[0])
        before = await batches(address)
        async with all_connected(len(tiles)):
            asked = asyncio.gather(
                *((one if number % 2 else other).upscaled(tile) for number, tile in enumerate(tiles))
            )
        upscaled = await asked
    calls, passes = (now - then for now, then in zip(await batches(address), before, strict=True))
    assert (calls, passes <= calls / 2) == (len(tiles), True)
    expected = [model.upscaled([tile.image], 4)[0] for tile in tiles]
    # A batch of another size may be summed up in another order.
    assert max(difference(*pair) for pair in zip(upscaled, expected, strict=True)) <= 1


@asynccontextmanager
async def client(address: str) -> AsyncIterator[UpscalerClient]:
    client = UpscalerClient(f"file://{address}")
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def all_connected(calls: int) -> AsyncIterator[None]:
    """Stop the upscaler until so many calls have come to it: on a busy machine they would trickle in one by one."""
    process = upscaler()
    process.suspend()
    try:
        yield
        here = psutil.Process()
        async with asyncio.timeout(60):
            while len(here.net_connections("unix")) < calls:  # noqa: ASYNC110, since no event says so
                await asyncio.sleep(0.01)
    finally:
        process.resume()


def socket_of(process: psutil.Process) -> str:
    """Where a process listens."""
    return next(str(each.laddr) for each in process.net_connections("unix") if str(each.laddr).startswith("/"))


async def batches(address: str) -> tuple[float, float]:
    """Calls and passes so far, by BentoML's own histogram."""
    transport = httpx.AsyncHTTPTransport(uds=address)
    async with httpx.AsyncClient(transport=transport, base_url="http://upscaler") as http:
        text = (await http.get("/metrics")).text
    return _total(text, "sum"), _total(text, "count")


def _total(text: str, kind: str) -> float:
    found = re.findall(rf"adaptive_batch_size_{kind}\{{[^}}]*\}} (\S+)", text)
    return sum(float(value) for value in found)
