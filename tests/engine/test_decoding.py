"""Decoding within the device's memory: how many images at once, and in tiles where one is too large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from core.generation.events import Failed
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.families import Stage
from models.catalogue.memory.options import Memory
from models.weights.loading import LoadedModel
from runners.host import running_model
from runners.host.running_model import within_memory
from runners.options import EngineLimits
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
        drawn = await draw_together(engine, [request(seed=seed) for seed in range(2)])
    assert [picture.tiled for events in drawn for picture in pictures(events)] == [True, True]
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
    assert (whole.tiled, in_tiles.tiled) == (False, True)
    assert not tiny_model.components["vae"].use_tiling


def test_how_much_may_be_decoded_follows_from_the_memory_beside_the_weights(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, limits = load_catalogue(*SHIPPED).get("wan22-t2v-a14b"), EngineLimits(batch_tokens=1)
    assert entry.figures is not None
    offloaded = entry.model_copy(update={"memory": Memory(offload="model")})
    monkeypatch.setattr(running_model, "device_memory_gib", lambda _device: 80.0)
    held_gib = {"cuda:0": entry.figures.all_weights_gib, "cuda:1": entry.figures.weights_gib["vae"]}
    monkeypatch.setattr(LoadedModel, "weights_on", lambda _model, device: held_gib[device])
    on_gpu = replace(tiny_model, device=torch.device("cuda", 0))
    elsewhere = replace(on_gpu, elsewhere={"vae": "cuda:1"})
    whole, alone = (within_memory(each, on_gpu, limits).decode_tokens or 0 for each in (entry, offloaded))
    assert whole < entry.figures.decoder_latents < alone
    assert within_memory(entry, elsewhere, limits).decode_tokens == alone
    assert within_memory(entry, tiny_model, limits).decode_tokens is None


async def test_what_does_not_fit_in_tiles_either_says_so(tiny_model: LoadedModel) -> None:
    with decoder(tiny_model, most_tokens=1), running(tiny_model) as (engine, _):
        events = await draw(engine, request())
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "out_of_memory"
    assert not tiny_model.components["vae"].use_tiling
