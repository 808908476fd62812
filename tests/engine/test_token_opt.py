"""Inpainting by optimising latents: what it changes, what it keeps, and that it goes where the prompt says."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import torch
from PIL import Image

from core.draft import Draft
from core.errors import InvalidRequest
from core.events import Failed, Picture, Queued, Started, Step
from core.request import GenerationRequest, Method, Task
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.resolve import ServerLimits, resolve
from models.weights.loading import load
from runners.token_opt.latent_optimiser import LatentOptimiser, Progress
from runners.token_opt.request_queue import TokenOptQueue
from tests.support.serving import half_mask

CATALOGUE = load_catalogue(*SHIPPED).only(["miniature", "sdxl"])
LIMITS = ServerLimits(max_prompt_chars=1000, max_num_images=4, max_deadline_s=600)
BLUE = Image.new("RGB", (128, 128), (30, 80, 220))


def request(**fields: object) -> GenerationRequest:
    said = {"prompt": "a red apple on a blue background", "seed": 1, "iterations": 3, **fields}
    images = {"image": BLUE, "mask": half_mask(128, 128)}
    draft = Draft(task=Task.INPAINT, method=Method.TOKEN_OPT, **{**images, **said})
    return resolve(draft, CATALOGUE, LIMITS)


@pytest.fixture(scope="module")
def optimiser() -> TokenOptQueue:
    entry = CATALOGUE.get("miniature")
    assert entry.token_opt is not None
    return TokenOptQueue(load(entry, "cpu"), entry.token_opt, max_queue=1)


@pytest.fixture(scope="module")
def optimisation(optimiser: TokenOptQueue) -> LatentOptimiser:
    return optimiser._optimisation


def drawn(optimisation: LatentOptimiser, wanted: GenerationRequest, seed: int = 1) -> Image.Image:
    *progress, picture = optimisation.draw(wanted, seed)
    assert progress == [Progress(n + 1) for n in range(wanted.iterations)]
    assert isinstance(picture, Image.Image)
    return picture


def similarity(optimisation: LatentOptimiser, picture: Image.Image, prompt: str) -> float:
    pixels = optimisation._pixels(picture) * 2 - 1
    small = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="area")
    with torch.no_grad():
        return float(optimisation._embedded(small) @ optimisation._text(prompt).T)


class TestThePicture:
    def test_it_goes_where_the_prompt_says_and_stays_outside_the_mask(self, optimisation: LatentOptimiser) -> None:
        wanted = request(iterations=40)
        picture = drawn(optimisation, wanted)
        before, after = (similarity(optimisation, image, wanted.prompt) for image in (BLUE, picture))
        assert after > before + 0.4
        assert (np.asarray(picture)[:, :64] == np.asarray(BLUE)[:, :64]).all()

    def test_the_seed_decides(self, optimisation: LatentOptimiser) -> None:
        first, again, other = (drawn(optimisation, request(), seed) for seed in (1, 1, 2))
        assert first.tobytes() == again.tobytes() != other.tobytes()

    def test_other_sizes_are_drawn(self, optimisation: LatentOptimiser) -> None:
        wide = request(image=BLUE.resize((192, 96)), mask=half_mask(192, 96))
        assert drawn(optimisation, wide).size == (192, 96)

    def test_the_models_own_weights_are_left_alone(self, optimiser: TokenOptQueue) -> None:
        drawn(optimiser._optimisation, request())
        vae = optimiser._model.components["vae"]
        assert all(weight.grad is None for weight in vae.parameters())
        assert optimiser._optimisation._vae is not vae


class TestTheLine:
    async def test_what_happens_is_told_in_order(self, optimiser: TokenOptQueue) -> None:
        wanted = request(num_images=2, progress=True)
        events = [event async for event in optimiser.events(wanted, time.monotonic())]
        kinds = [type(event) for event in events]
        assert kinds == [Started, Step, Step, Step, Picture, Step, Step, Step, Picture]
        assert [event.seed for event in events if isinstance(event, Picture)] == [1, 2]

    async def test_one_at_a_time_and_no_endless_line(self, optimiser: TokenOptQueue) -> None:
        async def run() -> list[object]:
            return [event async for event in optimiser.events(request(), time.monotonic())]

        first, second, third = await asyncio.gather(run(), run(), run())
        assert isinstance(first[0], Started)
        assert second[0] == Queued(1)
        assert isinstance(second[-1], Picture)
        assert isinstance(third[0], Failed)
        assert third[0].code == "busy"

    async def test_leaving_stops_it_before_the_next_begins(self, optimiser: TokenOptQueue) -> None:
        events = optimiser.events(request(iterations=600, progress=True), time.monotonic())
        async for event in events:
            if isinstance(event, Step):
                break
        started = time.monotonic()
        await events.aclose()
        assert time.monotonic() - started < 10
        assert not optimiser._turn.locked()
        assert optimiser._waiting == 0

    async def test_a_deadline_ends_it(self, optimiser: TokenOptQueue) -> None:
        late = request(iterations=600, deadline_s=0.01)
        events = [event async for event in optimiser.events(late, time.monotonic())]
        assert isinstance(events[-1], Failed)
        assert events[-1].code == "deadline_exceeded"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "sdxl"}, "method"),
        ({"iterations": 601}, "iterations"),
        ({"guidance_scale": 3.0}, "guidance_scale"),
        ({"negative_prompt": "blur"}, "negative_prompt"),
        ({"loras": [{"name": "sketch"}]}, "loras"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, object], field: str) -> None:
    images = {"image": BLUE.resize((1024, 1024)), "mask": half_mask(1024, 1024)} if "model" in fields else {}
    with pytest.raises(InvalidRequest) as caught:
        request(**fields, **images)
    assert caught.value.field == field
