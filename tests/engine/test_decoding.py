"""Decoding within the device's memory: how many images at once, and in tiles where one is too large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from core.generation.events import Failed
from models.catalogue.families import Stage
from models.weights.loading import LoadedModel
from tests.support.drawing import SIZE_PX, draw, draw_together, largest_difference, pictures, request
from tests.support.engines import running

TOKENS = (SIZE_PX // 8) ** 2
"""Latent positions of one image."""
TILE = SIZE_PX // 16


@contextmanager
def decoder(model: LoadedModel, most_tokens: int) -> Iterator[list[int]]:
    """Let the decoder run out of memory above so many latent positions; yield what it was asked for."""
    vae, asked = model.components["vae"], []
    real, tile = vae.decoder.forward, (vae.tile_latent_min_size, vae.tile_sample_min_size)

    def forward(sample: torch.Tensor, *args: Any) -> Any:
        asked.append(len(sample) * sample.shape[2:].numel())
        if asked[-1] > most_tokens:
            raise torch.OutOfMemoryError
        return real(sample, *args)

    vae.decoder.forward = forward
    vae.tile_latent_min_size, vae.tile_sample_min_size = TILE, 8 * TILE
    try:
        yield asked
    finally:
        del vae.decoder.forward
        vae.tile_latent_min_size, vae.tile_sample_min_size = tile


async def test_decoding_has_a_budget_of_its_own(tiny_model: LoadedModel) -> None:
    with running(tiny_model, decode_tokens=3 * TOKENS) as (engine, recorder):
        events = await draw(engine, request(num_images=8))
    assert len(pictures(events)) == 8
    assert recorder.samples("vae", Stage.DECODE) == [3, 3, 2]
    assert max(recorder.denoising) == 8


async def test_what_is_larger_than_the_budget_is_decoded_in_tiles(tiny_model: LoadedModel) -> None:
    vae = tiny_model.components["vae"]
    with (
        decoder(tiny_model, most_tokens=10 * TOKENS) as asked,
        running(tiny_model, decode_tokens=TOKENS - 1) as (engine, recorder),
    ):
        await draw_together(engine, [request(seed=seed) for seed in range(2)])
    assert set(asked) <= {n * m for n in range(1, TILE + 1) for m in range(1, TILE + 1)}
    assert recorder.samples("vae", Stage.DECODE) == [1, 1]
    assert not recorder.failed
    assert not vae.use_tiling


async def test_one_image_without_room_for_its_decoding_is_decoded_in_tiles(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        [whole] = pictures(await draw(engine, request()))
    with decoder(tiny_model, most_tokens=TOKENS - 1) as asked, running(tiny_model) as (engine, recorder):
        [in_tiles] = pictures(await draw(engine, request()))
    assert asked[0] == TOKENS
    assert max(asked[1:]) < TOKENS
    assert [failed.cause for failed in recorder.failed] == ["out_of_memory"]
    assert largest_difference(whole.image, in_tiles.image) < 255
    assert not tiny_model.components["vae"].use_tiling


async def test_what_does_not_fit_in_tiles_either_says_so(tiny_model: LoadedModel) -> None:
    with decoder(tiny_model, most_tokens=1), running(tiny_model) as (engine, _):
        events = await draw(engine, request())
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "out_of_memory"
    assert not tiny_model.components["vae"].use_tiling
