"""GLM-Image's edits: what the denoiser keeps of their images, and which sizes it sees them in."""

from __future__ import annotations

import pytest
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny


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
    assert max(passes.denoising) == 2
    for one, each in zip(wanted, drawn, strict=True):
        assert largest_difference(each, draw_plain(model, one)) <= TOLERANCE
    other = draw_plain(model, wanted[0].model_copy(update={"images": wanted[1].images}))
    assert largest_difference(drawn[0], other) > TOLERANCE, "the image that is edited is seen"


async def test_no_more_edits_run_than_may_keep_what_they_see(model: LoadedModel) -> None:
    wanted = [edit(photo(), num_images=2), edit(photo())]
    kept_gib = model.family.kept_gib(wanted[0])
    assert kept_gib == pytest.approx(1.9 / 4), "the image is seen in 512x512 pixels"
    with running(model, batch_tokens=BATCH_TOKENS, max_kept_gib=1.5 * kept_gib) as (engine, passes):
        drawn = [len(pictures(events)) for events in await draw_together(engine, wanted)]
    assert (drawn, set(passes.denoising)) == ([2, 1], {1})


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
