"""What is particular to Qwen-Image and Z-Image: guidance, pictures that a prompt shows, and latents in lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint import calculate_dimensions
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES, CallStage
from models.weights.loading import LoadedModel
from runners.engine.passes.merging import merge, split
from runners.engine.passes.module_calls import Operation
from tests.support.engine.drawing import SIZE_PX, draw_together, photo, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, load_tiny
from tests.support.engine.recorder import Recorder
from tests.tiny.images.qwen_image import shrink_inputs


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_inputs(monkeypatch)


async def drawn(model: LoadedModel, wanted: Sequence[GenerationRequest]) -> Recorder:
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, passes):
        await draw_together(engine, wanted)
    return passes


@pytest.mark.parametrize(
    ("guidance", "negative", "given"),
    [(4.0, "blurry", "blurry"), (4.0, "", " "), (1.0, "blurry", None), (0.0, "", None)],
)
def test_guidance_needs_a_negative_prompt_if_it_is_a_space(guidance: float, negative: str, given: str | None) -> None:
    arguments = FAMILIES["qwen-image"].arguments(request(guidance_scale=guidance, negative_prompt=negative))
    assert (arguments["true_cfg_scale"], arguments["negative_prompt"]) == (guidance, given)
    assert "guidance_scale" not in arguments, "that is for distilled models"


async def test_the_pictures_of_one_edit_encode_its_inputs_once(tmp_path: Path) -> None:
    edit = request(Task.EDIT, images=(photo(0), photo(1)), scheduler="flow_euler", num_images=3)
    passes = await drawn(load_tiny("qwen-image-edit-plus", tmp_path), [edit])
    assert sum(passes.samples("vae", CallStage.ENCODE)) == 2
    assert sum(passes.samples("text_encoder", CallStage.ENCODE)) == 2, "with and without the prompt"
    assert set(passes.samples("transformer", CallStage.DENOISE)) == {3}


async def test_turbo_steps_are_forward_passes(tmp_path: Path) -> None:
    wanted = request(scheduler="flow_euler", num_inference_steps=8, guidance_scale=0.0)
    passes = await drawn(load_tiny("z-image", tmp_path), [wanted])
    assert passes.samples("transformer", CallStage.DENOISE) == [1] * 8


def prompt_calls(model: LoadedModel, prompts: Sequence[tuple[str, list[Image.Image]]]) -> list[Any]:
    """Return the text encoder's calls for prompts that show pictures."""
    part = next(part for part in model.family.parts if part.component == "text_encoder")
    operation = Operation(part, model.components["text_encoder"])
    inputs = [model.components["processor"](text=[t], images=i, padding=True, return_tensors="pt") for t, i in prompts]
    names = ("input_ids", "attention_mask", "pixel_values", "image_grid_thw")
    return [operation.call((), {**{n: own[n] for n in names}, "output_hidden_states": True}, {}) for own in inputs]


def test_images_to_inpaint_already_have_the_size_that_the_pipeline_makes_of_them() -> None:
    own = FAMILIES["qwen-image-edit"].own_size[Task.INPAINT]
    for width, height in ((512, 512), (1500, 1000), (400, 2000), (2048, 256), (333, 1000)):
        size = own(width, height)
        assert calculate_dimensions(1024 * 1024, size[0] / size[1])[:2] == size


def test_images_to_take_apart_already_have_the_size_that_their_layers_get() -> None:
    family = FAMILIES["qwen-image-layered"]
    for width, height in ((640, 640), (1500, 1000), (400, 2000), (2048, 256), (333, 500)):
        size = family.own_size[Task.EDIT](width, height)
        given = family.arguments(request(Task.EDIT, images=(photo(),), width=size[0], height=size[1], layered=True))
        assert given["image"].size == size
        assert calculate_dimensions(given["resolution"] ** 2, size[0] / size[1])[:2] == size


@torch.no_grad()
def test_prompts_that_show_pictures_are_encoded_together_as_alone(tmp_path: Path) -> None:
    model = load_tiny("qwen-image-edit-plus", tmp_path)
    shown = "<|vision_start|><|image_pad|><|vision_end|>"
    calls = prompt_calls(model, [(f"{shown} more red", [photo(0)]), (f"{shown} less red", [photo(1)])])
    assert calls[0].signature == calls[1].signature
    run = calls[0].operation.run
    for call, together in zip(calls, split(run(**merge(calls)), calls), strict=True):
        alone = run(**call.arguments)
        torch.testing.assert_close(together.hidden_states[-1], alone.hidden_states[-1])
        assert alone.logits.shape[1] == 1, "scores are not computed for every token"
        assert alone.past_key_values is None


@torch.no_grad()
def test_pictures_of_a_prompt_have_positions_in_two_dimensions(tmp_path: Path) -> None:
    model = load_tiny("qwen-image-edit", tmp_path)
    encoder, processor = model.components["text_encoder"], model.components["processor"]
    # Four tokens, two by two.
    size = {"shortest_edge": 56 * 56, "longest_edge": 56 * 56}
    text = "<|vision_start|><|image_pad|><|vision_end|> more red"
    told = processor(text=[text], images=[photo()], return_tensors="pt", images_kwargs={"size": size})
    assert told["mm_token_type_ids"].sum() == 4
    untold = {name: value for name, value in told.items() if name != "mm_token_type_ids"}
    assert torch.equal(encoder(**untold).logits, encoder(**told).logits)
    flat = encoder(**{**told, "mm_token_type_ids": None}).logits
    assert not torch.allclose(encoder(**told).logits, flat)


@pytest.mark.parametrize("family", ["qwen-image", "z-image"])
def test_latents_are_previewed_as_a_picture_of_them(family: str) -> None:
    side = SIZE_PX // 8
    latents = torch.arange(16 * side * side, dtype=torch.float32).reshape(1, 16, side, side)
    packed = latents.reshape(1, 16, side // 2, 2, side // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, -1, 64)
    seen = FAMILIES[family].preview_latents(packed if family == "qwen-image" else latents, request())
    assert torch.equal(seen, latents[0])
