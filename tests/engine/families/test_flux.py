"""What is particular to FLUX: positions that hold for a whole batch, images of any size, klein's guidance and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Flux2KleinPipeline, FluxPipeline
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.families import FAMILIES, CallStage
from models.weights.loading import LoadedModel, load_pipelines
from runners.engine.passes.module_calls import Operation
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny
from tests.support.engine.recorder import Recorder
from tests.tiny.images.flux2 import tiny_flux2_klein_distilled

SIZES = ((64, 64), (100, 50), (40, 240), (30, 30), (10, 500))
"""Of images: as large as the picture, wide, tall, small, and more elongated than FLUX.2 takes."""


def wanted_of(task: Task, **changes: Any) -> GenerationRequest:
    images = (photo(),) if task is Task.EDIT else ()
    return request(task, **{"scheduler": "flow_euler", "images": images, **changes})


async def drawn(model: LoadedModel, wanted: Sequence[GenerationRequest]) -> tuple[list[Image.Image], Recorder]:
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, passes):
        events = await draw_together(engine, wanted)
    return [pictures(each)[0].image for each in events], passes


async def assert_drawn_as_alone(model: LoadedModel, wanted: Sequence[GenerationRequest]) -> Recorder:
    images, passes = await drawn(model, wanted)
    for each, image in zip(wanted, images, strict=True):
        assert image.size == (each.width, each.height)
        assert largest_difference(image, draw_plain(model, each)) <= TOLERANCE
    return passes


@pytest.mark.parametrize(
    ("family", "task"),
    [("flux", Task.TEXT_TO_IMAGE), ("flux-kontext", Task.EDIT), ("flux2-klein", Task.TEXT_TO_IMAGE)],
)
async def test_upright_and_lying_pictures_have_positions_of_their_own(family: str, task: Task, tmp_path: Path) -> None:
    wanted = [
        wanted_of(task, width=width, height=height, seed=seed, num_inference_steps=3 + seed, guidance_scale=1.0)
        for width, height in ((64, 128), (128, 64))
        for seed in range(2)
    ]
    passes = await assert_drawn_as_alone(load_tiny(family, tmp_path), wanted)
    assert max(each.calls for each in passes.of("transformer")) == 2, "each size shares with its like, and only so"


@pytest.mark.parametrize("family", ["flux-kontext", "flux2-klein"])
async def test_images_of_any_size_are_edited(family: str, tmp_path: Path) -> None:
    wanted = [
        wanted_of(Task.EDIT, images=(Image.new("RGB", size, "orange"),), seed=seed, guidance_scale=1.0 + seed)
        for seed, size in enumerate(SIZES)
    ]
    await assert_drawn_as_alone(load_tiny(family, tmp_path), wanted)


async def test_several_images_of_different_sizes_are_edited_into_one(tmp_path: Path) -> None:
    images = tuple(photo(seed, size_px) for seed, size_px in enumerate((64, 96, 80)))
    wanted = [wanted_of(Task.EDIT, images=images[:count], seed=count) for count in (1, 2, 3, 3)]
    wanted.append(wanted_of(Task.EDIT, images=images[::-1], seed=3))
    await assert_drawn_as_alone(load_tiny("flux2-klein", tmp_path), wanted)


async def test_the_size_of_an_image_in_kontext_follows_the_picture() -> None:
    arguments = FAMILIES["flux-kontext"].arguments(
        wanted_of(Task.EDIT, width=512, height=512, images=(Image.new("RGB", (3000, 2000)),))
    )
    assert arguments["image"].size == (624, 416)


@pytest.mark.parametrize("task", [Task.TEXT_TO_IMAGE, Task.EDIT])
async def test_a_distilled_klein_is_not_guided(task: Task, tmp_path: Path) -> None:
    guided = load_tiny("flux2-klein", tmp_path / "base")
    pipelines = load_pipelines(FAMILIES["flux2-klein"], str(tiny_flux2_klein_distilled(tmp_path / "distilled")))
    distilled = LoadedModel("tiny", FAMILIES["flux2-klein"], pipelines, torch.device("cpu"))
    wanted = [wanted_of(task, num_inference_steps=3)]
    for model, calls in ((guided, 6), (distilled, 3)):
        _, passes = await drawn(model, wanted)
        assert len(passes.of("transformer")) == calls


async def test_klein_encodes_texts_of_any_length_together_and_each_once(tmp_path: Path) -> None:
    prompts = ("a cat", "a cat that sits on a very long wall", "a cat")
    wanted = [wanted_of(Task.TEXT_TO_IMAGE, prompt=prompt, guidance_scale=1.0) for prompt in prompts]
    passes = await assert_drawn_as_alone(load_tiny("flux2-klein", tmp_path), wanted)
    assert [each.samples for each in passes.of("text_encoder")] == [2]


def test_an_encoding_holds_neither_a_cache_nor_the_odds_of_every_word(tmp_path: Path) -> None:
    model = load_tiny("flux2-klein", tmp_path)
    part = next(p for p in model.family.parts if p.stage is CallStage.ENCODE and p.component == "text_encoder")
    tokens = torch.ones((1, 8), dtype=torch.long)
    call = Operation(part, model.components["text_encoder"]).call(
        (), {"input_ids": tokens, "attention_mask": tokens, "output_hidden_states": True, "use_cache": False}, {}
    )
    output = call.operation.run(**call.arguments)
    assert output.past_key_values is None
    assert output.logits.shape[1] == 1
    assert all(layer.shape[1] == 8 for layer in output.hidden_states)


def test_latents_are_unpacked_for_previews_as_for_decoding() -> None:
    wanted = wanted_of(Task.TEXT_TO_IMAGE, width=64, height=128)
    latents = torch.randn(1, 8 * 4, 16)  # (B, h * w, C)
    unpacked = FluxPipeline._unpack_latents(latents, 128, 64, 8)[0]
    assert torch.equal(FAMILIES["flux"].preview_latents(latents, wanted), unpacked)
    grid = latents.permute(0, 2, 1).reshape(1, 16, 8, 4)
    unpatched = Flux2KleinPipeline._unpatchify_latents(grid)[0]
    assert torch.equal(FAMILIES["flux2-klein"].preview_latents(latents, wanted), unpatched)


@pytest.mark.parametrize(("family", "channels"), [("flux", 16), ("stable-diffusion-3", 16), ("flux2-klein", 32)])
def test_shipped_previews_have_a_colour_for_each_latent_channel(family: str, channels: int) -> None:
    shipped = load_catalogue(*SHIPPED).entries.values()
    # The miniatures' own autoencoder has other channels.
    entries = [entry for entry in shipped if entry.family == family and not entry.id.startswith("miniature")]
    assert entries
    assert all(entry.preview and len(entry.preview.weight) == channels for entry in entries)
