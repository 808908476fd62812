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
from models.catalogue.entry import Entry
from models.catalogue.families import CallStage
from models.catalogue.memory.bounds import MemoryBounds
from models.catalogue.memory.figures import RESERVE_GIB
from models.catalogue.memory.options import Memory
from models.catalogue.memory.parallel import Parallel
from models.weights.loading import LoadedModel
from runners.host import decode_limits
from runners.host.decode_limits import ROUNDED_GIB, within_memory
from runners.options import EngineLimits
from tests.support.engine.drawing import SIZE_PX, draw, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running

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
    assert recorder.samples("vae", CallStage.DECODE) == [3, 3, 2]
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
    assert recorder.samples("vae", CallStage.DECODE) == [1, 1]
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
    spread = entry.model_copy(update={"components": {"vae": "cuda:1"}})
    monkeypatch.setattr(decode_limits, "device_memory_gib", lambda _device: 80.0)
    held_gib = {"cuda:0": entry.figures.all_weights_gib, "cuda:1": entry.figures.weights_gib["vae"]}
    monkeypatch.setattr(LoadedModel, "weights_on", lambda _model, device: held_gib[device])
    on_gpu = replace(tiny_model, device=torch.device("cuda", 0))
    elsewhere = replace(on_gpu, elsewhere={"vae": "cuda:1"})
    whole, alone = (
        within_memory(each, on_gpu, limits, MemoryBounds()).decode_tokens or 0 for each in (entry, offloaded)
    )
    assert whole < entry.figures.decoder_latents < alone
    assert within_memory(spread, elsewhere, limits, MemoryBounds()).decode_tokens == alone
    assert within_memory(entry, tiny_model, limits, MemoryBounds()).decode_tokens is None


def test_a_decoder_beside_a_helper_of_its_model_has_what_that_leaves(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flux, limits = load_catalogue(*SHIPPED).get("flux-dev"), EngineLimits(batch_tokens=1)
    assert flux.figures is not None
    monkeypatch.setattr(decode_limits, "device_memory_gib", lambda _device: 80.0)
    monkeypatch.setattr(decode_limits, "available_devices", lambda: ["cpu", "cuda:0", "cuda:1"])
    vae_gib = flux.figures.weights_gib["vae"]
    monkeypatch.setattr(LoadedModel, "weights_on", lambda _model, _device: vae_gib)
    model = replace(tiny_model, device=torch.device("cuda", 0), elsewhere={"vae": "cuda:1"})
    split = {"components": {"vae": "cuda:1"}, "parallel": Parallel(ulysses=2), "controlnets": {}, "ip_adapter": None}
    entry = flux.model_copy(update=split)
    room_gib = 80 + ROUNDED_GIB - entry.memory_gib - vae_gib
    assert within_memory(entry, model, limits, MemoryBounds()).decode_tokens == flux.figures.decode_tokens(room_gib)


def decoded_at_once(
    entry: Entry, model: LoadedModel, bounds: MemoryBounds, monkeypatch: pytest.MonkeyPatch, total_gib: float
) -> float:
    """Return how many default images of a model, on a card of this size, may be decoded together."""
    figures = entry.figures
    assert figures is not None
    monkeypatch.setattr(decode_limits, "device_memory_gib", lambda _device: total_gib)
    monkeypatch.setattr(LoadedModel, "weights_on", lambda _model, _device: figures.all_weights_gib)
    on_gpu = replace(model, device=torch.device("cuda", 0))
    tokens = within_memory(entry, on_gpu, EngineLimits(batch_tokens=1), bounds).decode_tokens
    assert tokens is not None
    return tokens / figures.decoder_latents


def test_models_on_one_card_decode_within_it_together(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever each has room for, all of them at once do not need more than there is."""
    entries = [load_catalogue(*SHIPPED).get(model) for model in ("sdxl", "z-image-turbo")]
    peaks_gib = []
    for entry, other in (entries, entries[::-1]):
        assert entry.figures is not None
        beside = MemoryBounds((other.full_gib_on(["cuda:0"]), {"cuda:1": 40.0}))
        shared, alone = (
            decoded_at_once(entry, tiny_model, each, monkeypatch, 48.0) for each in (beside, MemoryBounds())
        )
        assert 1 <= shared < alone
        assert entry.addons_gib > 2, "ControlNets at least"
        weights_gib = entry.figures.all_weights_gib + entry.addons_gib
        peaks_gib.append(weights_gib + shared * entry.figures.decoding_gib + RESERVE_GIB)
    assert 46 < sum(peaks_gib) < 48 + 2 * ROUNDED_GIB


def test_one_default_image_is_decoded_whole_in_what_its_model_needs(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a card without room for the others, under the smallest budget, and where it is to fit into no more."""
    for entry in load_catalogue(*SHIPPED).entries.values():
        if entry.figures is None or entry.default_request.is_video:
            continue
        crowded = MemoryBounds(({"cuda:0": 141.0},))
        for bounds in (crowded, MemoryBounds(budget_gib=entry.memory_gib), MemoryBounds(fit_gib=entry.memory_gib)):
            at_once = decoded_at_once(entry, tiny_model, bounds, monkeypatch, 141.0)
            assert at_once >= 1, entry.id


async def test_what_does_not_fit_in_tiles_either_says_so(tiny_model: LoadedModel) -> None:
    with decoder(tiny_model, most_tokens=1), running(tiny_model) as (engine, _):
        events = await draw(engine, request())
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "out_of_memory"
    assert not tiny_model.components["vae"].use_tiling
