"""Inpainting by optimising latents: what it changes, what it keeps, and that it goes where the prompt says."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.events import Failed, Picture, Queued, Started, Step
from core.generation.request import GenerationRequest, Method, Task
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.weights.loading import load
from runners.token_opt.latent_optimiser import IterationDone, LatentOptimiser
from runners.token_opt.request_queue import TokenOptQueue
from tests.support.servers.serving import half_mask

CATALOGUE = load_catalogue(*SHIPPED).only(["miniature", "sdxl"])
LIMITS = ServerLimits(max_prompt_chars=1000, max_num_images=4, max_deadline_s=600)
BLUE = Image.new("RGB", (128, 128), (30, 80, 220))


def request(**fields: object) -> GenerationRequest:
    said = {"prompt": "a red apple on a blue background", "seed": 1, "iterations": 3, **fields}
    images = {"image": BLUE, "mask": half_mask(128, 128)}
    draft = Draft(task=Task.INPAINT, method=Method.TOKEN_OPT, **{**images, **said})
    return resolve(draft, CATALOGUE, LIMITS)


@pytest.fixture(scope="module")
def queue() -> TokenOptQueue:
    entry = CATALOGUE.get("miniature")
    assert entry.token_opt is not None
    return TokenOptQueue(load(entry, "cpu"), entry.token_opt, max_queue=1)


@pytest.fixture(scope="module")
def optimiser(queue: TokenOptQueue) -> LatentOptimiser:
    return queue._optimiser


def generated(optimiser: LatentOptimiser, wanted: GenerationRequest, seed: int = 1) -> Image.Image:
    *progress, image = optimiser.generate(wanted, seed)
    assert progress == [IterationDone(n + 1) for n in range(wanted.iterations)]
    assert isinstance(image, Image.Image)
    return image


def similarity(optimiser: LatentOptimiser, image: Image.Image, prompt: str) -> float:
    pixels = optimiser._to_tensor(image) * 2 - 1
    small = torch.nn.functional.interpolate(pixels, size=(64, 64), mode="area")
    with torch.no_grad():
        return float(optimiser._embed_images(small) @ optimiser._embed_text(prompt).T)


class TestTheImage:
    def test_it_goes_where_the_prompt_says_and_stays_outside_the_mask(self, optimiser: LatentOptimiser) -> None:
        wanted = request(iterations=40)
        repainted = generated(optimiser, wanted)
        before, after = (similarity(optimiser, image, wanted.prompt) for image in (BLUE, repainted))
        assert after > before + 0.4
        assert (np.asarray(repainted)[:, :64] == np.asarray(BLUE)[:, :64]).all()

    def test_the_seed_decides(self, optimiser: LatentOptimiser) -> None:
        first, again, other = (generated(optimiser, request(), seed) for seed in (1, 1, 2))
        assert first.tobytes() == again.tobytes() != other.tobytes()

    def test_other_sizes_are_generated(self, optimiser: LatentOptimiser) -> None:
        wide = request(image=BLUE.resize((192, 96)), mask=half_mask(192, 96))
        assert generated(optimiser, wide).size == (192, 96)

    def test_the_models_own_weights_are_left_alone(self, queue: TokenOptQueue) -> None:
        generated(queue._optimiser, request())
        vae = queue._model.components["vae"]
        assert all(weight.grad is None for weight in vae.parameters())
        assert queue._optimiser._vae is not vae


class TestTheQueue:
    async def test_events_come_in_order(self, queue: TokenOptQueue) -> None:
        wanted = request(num_images=2, progress=True)
        events = [event async for event in queue.events(wanted, time.monotonic())]
        kinds = [type(event) for event in events]
        assert kinds == [Started, Step, Step, Step, Picture, Step, Step, Step, Picture]
        assert [event.seed for event in events if isinstance(event, Picture)] == [1, 2]

    async def test_one_runs_at_a_time_and_few_wait(self, queue: TokenOptQueue) -> None:
        async def run() -> list[object]:
            return [event async for event in queue.events(request(), time.monotonic())]

        first, second, third = await asyncio.gather(run(), run(), run())
        assert isinstance(first[0], Started)
        assert second[0] == Queued(1)
        assert isinstance(second[-1], Picture)
        assert isinstance(third[0], Failed)
        assert third[0].code == "busy"

    async def test_closing_the_stream_stops_it_before_the_next_begins(self, queue: TokenOptQueue) -> None:
        events = queue.events(request(iterations=600, progress=True), time.monotonic())
        async for event in events:
            if isinstance(event, Step):
                break
        started = time.monotonic()
        await events.aclose()
        assert time.monotonic() - started < 10
        assert not queue._turn.locked()
        assert queue._waiting == 0

    async def test_a_deadline_ends_it(self, queue: TokenOptQueue) -> None:
        late = request(iterations=600, deadline_s=0.01)
        events = [event async for event in queue.events(late, time.monotonic())]
        assert isinstance(events[-1], Failed)
        assert events[-1].code == "deadline_exceeded"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "sdxl"}, "method"),
        ({"iterations": 601}, "iterations"),
        ({"loras": [{"name": "sketch"}]}, "loras"),
    ],
)
def test_what_it_cannot_do_is_refused(fields: dict[str, object], field: str) -> None:
    images = {"image": BLUE.resize((1024, 1024)), "mask": half_mask(1024, 1024)} if "model" in fields else {}
    with pytest.raises(InvalidRequest) as caught:
        request(**fields, **images)
    assert caught.value.field == field
