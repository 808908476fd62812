"""GLM-Image's edits: what the denoiser keeps of their images, and which sizes it sees them in."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from runners.engine.merging import merge, split
from runners.engine.module_calls import Operation
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny
from tests.tiny.images.glm_image import IMAGE_TOKENS, LATENT_CHANNELS, TEXT_WIDTH


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny("glm-image", tmp_path_factory.mktemp("glm-image"))


def edit(*images: Image.Image, **changes: object) -> GenerationRequest:
    usual = {"scheduler": "flow_euler", "num_inference_steps": 2, "guidance_scale": 1.0}
    return request(Task.EDIT, **{**usual, "images": images, **changes})


async def test_edits_of_images_of_one_size_share_passes(model: LoadedModel) -> None:
    # Unguided: every call of the denoiser sees the image.
    wanted = [edit(photo(seed=seed), prompt=prompt) for seed, prompt in ((1, "a red apple"), (2, "a blue boat"))]
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, passes):
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    assert max(passes.batch_sizes("transformer")) == 2
    for one, each in zip(wanted, drawn, strict=True):
        assert largest_difference(each, draw_plain(model, one)) <= TOLERANCE
    other = draw_plain(model, wanted[0].model_copy(update={"images": wanted[1].images}))
    assert largest_difference(drawn[0], other) > TOLERANCE, "the image that is edited is seen"


def test_images_that_are_edited_are_seen_together_as_alone(model: LoadedModel) -> None:
    (part,) = (part for part in FAMILIES["glm-image"].parts if part.method == "seen")
    operation = Operation(part, model.components["transformer"])
    calls = [operation.call((), image(seed), {}) for seed in (1, 2)]
    with torch.no_grad():
        together = split(operation.run(**merge(calls)), calls)
        alone = [operation.run(**call.arguments) for call in calls]
    torch.testing.assert_close(together, alone)


def image(seed: int) -> dict[str, torch.Tensor]:
    """What the denoiser is given of one of 64x64 pixels."""
    numbers = torch.Generator().manual_seed(seed)
    return {
        "hidden_states": torch.randn(1, LATENT_CHANNELS, 8, 8, generator=numbers),
        "encoder_hidden_states": torch.zeros(1, 0, TEXT_WIDTH),
        "prior_token_id": torch.randint(IMAGE_TOKENS, (1, 16), generator=numbers),
        "prior_token_drop": torch.zeros(1, 16, dtype=torch.bool),
        "timestep": torch.zeros(1),
        "target_size": torch.tensor([[64, 64]]),
        "crop_coords": torch.zeros(1, 2),
    }


@pytest.mark.parametrize(
    ("size", "result", "seen"),
    [
        ((1024, 1024), (1024, 1024), (1024, 1024)),
        ((4000, 3000), (1024, 1024), (1184, 896)),
        ((100, 80), (512, 512), (640, 512)),
        ((1000, 200), (1024, 1024), (2048, 512)),
        ((700, 900), (2048, 2048), (704, 896)),
    ],
)
def test_images_are_seen_in_sizes_that_language_model_and_denoiser_have_as_many_tokens_of(
    size: tuple[int, int], result: tuple[int, int], seen: tuple[int, int]
) -> None:
    wanted = edit(Image.new("RGB", size), width=result[0], height=result[1])
    (image,) = FAMILIES["glm-image"].arguments(wanted)["image"]
    assert image.size == seen
