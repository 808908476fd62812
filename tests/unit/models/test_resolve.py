from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from core.errors import InvalidRequest, UnknownModel
from core.generation.client_fields import MAX_SEED, RANDOM_SEEDS
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from core.pixels.upload import pixels_of
from gateway.runner_load import tokens_of
from models.catalogue.catalogue import Catalogue, full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.limits import Limits
from models.catalogue.resolving.resolve import resolve
from models.catalogue.resolving.sizes import check_size, fitted_size, looked_at, too_long
from tests.support.resolving import LIMITS_OF_SERVER
from tests.support.servers.serving import ENTRY_FIELDS, half_mask, photo

ENTRY = Entry.model_validate(
    {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": {"path": "weights"}}
)
VACE = "wan21-vace-1.3b"
FLF2V = "wan21-flf2v-14b-720p"


def resolved(**fields: Any) -> GenerationRequest:
    return resolve(Draft(**{"prompt": "an apple", **fields}), Catalogue([ENTRY]), LIMITS_OF_SERVER)


def test_what_is_left_out_comes_from_the_model() -> None:
    request = resolved()
    assert (request.model, request.width, request.height) == ("tiny", 64, 64)
    assert (request.num_inference_steps, request.guidance_scale, request.scheduler) == (4, 3.0, "ddim")
    assert (request.strength, request.deadline_s) == (1.0, 60)


def test_what_is_given_is_kept_zero_included() -> None:
    request = resolved(width=96, height=48, guidance_scale=0, seed=0, num_inference_steps=7, scheduler="euler")
    assert (request.width, request.height, request.num_inference_steps) == (96, 48, 7)
    assert (request.guidance_scale, request.seed, request.scheduler) == (0, 0, "euler")


def test_random_seeds_differ_and_fit_into_javascript_numbers() -> None:
    seeds = {resolved().seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < RANDOM_SEEDS for seed in seeds)


def test_surrounding_space_is_no_part_of_a_prompt() -> None:
    assert resolved(prompt="  an apple\n").prompt == "an apple"


def test_a_second_pass_is_twice_as_large_unless_it_says() -> None:
    larger = resolved(width=32, height=48, hires={"strength": 0.5}).hires
    assert larger is not None
    assert (larger.size, larger.num_inference_steps, larger.denoising_steps) == ((64, 96), 4, 2)
    follows = resolved(width=32, height=48, hires={"height": 64}).hires
    assert follows is not None
    assert (follows.size, follows.strength) == ((48, 64), 0.75)


def test_both_passes_count() -> None:
    request = resolved(width=32, height=32, num_images=2, hires={"width": 64, "strength": 0.5})
    assert (request.denoising_steps, request.result_size) == (6, (64, 64))
    assert request.generated_px == 2 * (32 * 32 + 64 * 64)
    assert tokens_of(request) == 2 * (4 * 16 + 2 * 64)


IMAGE, MASK = photo(), half_mask()


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"prompt": " \n"}, "prompt", "empty"),
        ({"prompt": "a" * 101}, "prompt", "101 characters; at most 100"),
        ({"negative_prompt": "a" * 101}, "negative_prompt", "101 characters; at most 100"),
        ({"width": 16}, "width", "16 is not between 32 and 128"),
        ({"height": 144}, "height", "144 is not between 32 and 128"),
        ({"width": 72}, "width", "72 is not a multiple of 16"),
        ({"width": 128, "height": 128}, "width", "16384 pixels; at most 8192"),
        ({"num_inference_steps": 901}, "num_inference_steps", "901 is not between 1 and 900"),
        (
            {"num_inference_steps": 51, "scheduler": "lcm"},
            "num_inference_steps",
            "51 is more than 50, all that lcm can take",
        ),
        ({"guidance_scale": 20.5}, "guidance_scale", "20.5 is not between 0.0 and 20.0"),
        ({"num_images": 5}, "num_images", "5 is more than 4"),
        ({"deadline_s": 61}, "deadline_s", "61.0 is more than 60"),
        ({"seed": MAX_SEED, "num_images": 2}, "seed", "is more than"),
        ({"scheduler": "heum"}, "scheduler", "'heum' is unknown; known: ddim"),
        ({"image": IMAGE}, "image", "text-to-image takes none"),
        ({"task": Task.IMAGE_TO_IMAGE}, "image", "image-to-image needs one"),
        ({"task": Task.IMAGE_TO_IMAGE, "image": IMAGE, "mask": MASK}, "mask", "image-to-image takes none"),
        ({"task": Task.INPAINT, "image": IMAGE}, "mask", "inpaint needs one"),
        (
            {"task": Task.INPAINT, "image": IMAGE, "mask": half_mask(32)},
            "mask",
            "32x64 pixels, but the image is 64x64",
        ),
        ({"task": Task.IMAGE_TO_IMAGE, "image": IMAGE, "strength": 0.2}, "strength", "at least 0.25"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_the_limit(fields: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as error:
        resolved(**fields)
    assert error.value.field == field


def entry_of(model: str) -> Entry:
    return full_catalogue(None).get(model)


def test_a_type_of_control_image_brings_its_scale_and_its_number() -> None:
    catalogue = Catalogue([entry_of("flux-dev")])
    drafts = [Draft(prompt="an apple", control_image=IMAGE, control_type=kind) for kind in ("tile", "depth")]
    tile, depth = (resolve(draft, catalogue, LIMITS_OF_SERVER) for draft in drafts)
    assert (tile.control_scale, tile.control_mode) == (0.55, 1)
    assert (depth.control_scale, depth.control_mode) == (0.8, None)


def test_a_second_pass_takes_no_more_than_its_pipeline() -> None:
    both = {"control_image": IMAGE, "control_type": "canny", "reference_image": IMAGE}
    draft = Draft(prompt="an apple", width=512, height=512, hires={"scale": 2}, **both)
    with pytest.raises(InvalidRequest, match="image-to-image with a control_image beside a reference_image"):
        resolve(draft, Catalogue([entry_of("flux-dev")]), LIMITS_OF_SERVER)


def test_redux_follows_a_reference_beside_a_control_image_in_all_tasks() -> None:
    draft = Draft(
        prompt="x",
        task=Task.IMAGE_TO_IMAGE,
        image=IMAGE,
        control_image=IMAGE,
        control_type="canny",
        reference_image=IMAGE,
    )
    request = resolve(draft, Catalogue([entry_of("flux-dev-redux")]), LIMITS_OF_SERVER)
    assert None not in (request.control_image, request.reference_image)
    with pytest.raises(InvalidRequest, match="image-to-image of flux-dev takes none beside a reference_image"):
        resolve(draft, Catalogue([entry_of("flux-dev")]), LIMITS_OF_SERVER)


def test_a_task_without_a_controlnet_names_those_with_one() -> None:
    draft = Draft(prompt="x", task=Task.IMAGE_TO_IMAGE, image=IMAGE, control_image=IMAGE, control_type="canny")
    with pytest.raises(InvalidRequest, match="image-to-image of qwen-image takes none; these tasks do: text-to-image"):
        resolve(draft, Catalogue([entry_of("qwen-image")]), LIMITS_OF_SERVER)


BY_TOKEN_OPT: dict[str, Any] = {"task": Task.INPAINT, "image": IMAGE, "mask": MASK, "method": "token-opt"}


@pytest.mark.parametrize(
    ("entry", "fields", "field"),
    [
        (ENTRY, {"strength": 0.5}, "strength"),
        (ENTRY, {"num_frames": 5}, "num_frames"),
        (ENTRY, {"fps": 8}, "fps"),
        (ENTRY, {"reference_scale": 0.5}, "reference_scale"),
        (ENTRY, {"control_type": "canny"}, "control_type"),
        (ENTRY, {"control_scale": 0.5}, "control_scale"),
        (ENTRY, {"iterations": 5}, "iterations"),
        (ENTRY, {"negative_prompt": "blurry", "guidance_scale": 1}, "negative_prompt"),
        (ENTRY.model_copy(update={"preview": None}), {"preview_every": 2}, "preview_every"),
        (entry_of("flux-schnell"), {"guidance_scale": 7.5}, "guidance_scale"),
        (entry_of("flux-schnell"), {"guidance_scale": 0.5}, "guidance_scale"),
        (entry_of("flux-schnell"), {"negative_prompt": "blurry"}, "negative_prompt"),
        (entry_of("flux-dev"), {"negative_prompt": "blurry"}, "negative_prompt"),
        (entry_of("flux2-klein-4b"), {"guidance_scale": 4.0}, "guidance_scale"),
        (entry_of("z-image-turbo"), {"guidance_scale": 4.0}, "guidance_scale"),
        (entry_of("z-image-turbo"), {"negative_prompt": "blurry"}, "negative_prompt"),
        (entry_of("qwen-image"), {"negative_prompt": "blurry", "guidance_scale": 1.0}, "negative_prompt"),
        (entry_of("qwen-image-edit"), {"task": Task.EDIT, "images": (IMAGE,), "strength": 0.8}, "strength"),
        *(
            (entry_of("miniature"), {**BY_TOKEN_OPT, field: value}, field)
            for field, value in {
                "num_inference_steps": 5,
                "guidance_scale": 3.0,
                "negative_prompt": "blurry",
                "strength": 0.5,
                "scheduler": "euler",
            }.items()
        ),
    ],
)
def test_what_cannot_act_is_ignored_and_says_so(entry: Entry, fields: dict[str, Any], field: str) -> None:
    catalogue = Catalogue([entry])
    request = resolve(Draft(prompt="an apple", seed=1, **fields), catalogue, LIMITS_OF_SERVER)
    without = {name: value for name, value in fields.items() if name != field}
    assert len(request.hints) == 1
    assert request.hints[0].startswith(f"{field} is ignored: ")
    plain = resolve(Draft(prompt="an apple", seed=1, **without), catalogue, LIMITS_OF_SERVER)
    assert request.model_copy(update={"hints": ()}) == plain


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        (ENTRY, {"negative_prompt": "blurry", "guidance_scale": 3}),
        (ENTRY, {"negative_prompt": " ", "guidance_scale": 1}),
        (entry_of("flux-dev"), {"guidance_scale": 7.5}),
        (entry_of("flux-schnell"), {"guidance_scale": 0.0, "negative_prompt": " "}),
        (entry_of("qwen-image"), {"negative_prompt": "blurry"}),
    ],
)
def test_what_acts_needs_no_note(entry: Entry, fields: dict[str, Any]) -> None:
    assert not resolve(Draft(prompt="an apple", **fields), Catalogue([entry]), LIMITS_OF_SERVER).hints


@pytest.mark.parametrize("field", ["width", "height"])
def test_a_size_may_become_the_nearest_one(field: str) -> None:
    server = replace(LIMITS_OF_SERVER, snaps_sizes=True)
    catalogue = Catalogue([entry_of("miniature")])
    document = resolve(Draft(prompt="an apple", width=1024, height=768), catalogue, server)
    assert (document.width, document.height) == (256, 192)
    assert document.hints == ("width: 1024x768 became 256x192, the nearest size that the model generates",)
    one_side = resolve(Draft(prompt="an apple", **{field: 65}), catalogue, server)
    assert sorted((one_side.width, one_side.height)) == [64, 128]
    assert not resolve(Draft(prompt="an apple", width=64, height=256), catalogue, server).hints


def test_an_unknown_model_is_refused_with_the_served_ones() -> None:
    with pytest.raises(UnknownModel, match="'sd9' is not served here; served: tiny"):
        resolved(model="sd9")


def test_the_least_strength_that_is_offered_is_enough() -> None:
    for steps in range(1, 200):
        with pytest.raises(InvalidRequest) as error:
            resolved(task=Task.IMAGE_TO_IMAGE, image=IMAGE, num_inference_steps=steps, strength=0)
        least = float(error.value.reason.rpartition(" ")[2])
        request = resolved(task=Task.IMAGE_TO_IMAGE, image=IMAGE, num_inference_steps=steps, strength=least)
        assert int(steps * request.strength) >= 1


def test_an_image_and_its_mask_come_out_in_the_size_that_is_drawn() -> None:
    request = resolved(task=Task.INPAINT, image=photo(300, 200), mask=half_mask(300, 200))
    assert (request.width, request.height) == (96, 64) or request.width * request.height <= 8192
    assert request.image is not None
    assert request.mask is not None
    assert request.image.size == request.mask.size == (request.width, request.height)
    assert set(pixels_of(request.mask).tobytes()) == {0, 255}


LIMITS = Limits(min_px=64, max_px=256, max_pixels=256 * 192, multiple_px=32, max_steps=9, guidance_scale=(0, 1))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_every_image_gets_an_allowed_size(width: int, height: int) -> None:
    sides = fitted_size(width, height, LIMITS)
    assert all(LIMITS.min_px <= side <= LIMITS.max_px and side % LIMITS.multiple_px == 0 for side in sides)
    assert sides[0] * sides[1] <= LIMITS.max_pixels


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((128, 96), (128, 96)),
        ((130, 100), (128, 96)),
        ((4000, 2000), (256, 128)),
        ((32, 48), (64, 96)),
        ((5000, 10), (256, 64)),
    ],
)
def test_proportions_are_kept_as_far_as_the_limits_allow(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(*size, LIMITS) == fitted


@pytest.mark.parametrize(
    ("model", "size", "generated"),
    [
        ("flux2-klein-4b", (512, 512), (512, 512)),
        ("flux2-klein-4b", (1536, 1024), (1248, 832)),
        ("qwen-image-edit", (512, 512), (1024, 1024)),
        ("qwen-image-edit", (1500, 1000), (1248, 832)),
        ("qwen-image-edit", (400, 2000), (448, 2336)),
        ("qwen-image-edit", (2048, 256), (2720, 384)),
    ],
)
def test_a_pipeline_that_asks_only_its_image_gets_one_of_the_size_that_it_generates(
    model: str, size: tuple[int, int], generated: tuple[int, int]
) -> None:
    def inpainting(snaps: bool = False, **sides: int) -> GenerationRequest:
        image, mask = Image.new("RGB", size), Image.new("L", size, 255)
        draft = Draft(prompt="an apple", task=Task.INPAINT, image=image, mask=mask, **sides)
        return resolve(draft, Catalogue([entry_of(model)]), replace(LIMITS_OF_SERVER, snaps_sizes=snaps))

    request = inpainting()
    assert (request.width, request.height) == generated
    assert request.image is not None and request.image.size == generated  # noqa: PT018
    again = inpainting(width=generated[0], height=generated[1])
    assert (again.width, again.height) == generated
    # Whether sizes snap or not: of what is asked for, such a pipeline can have the proportions alone.
    for snaps in (False, True):
        other = inpainting(snaps, width=1536, height=1024)
        assert (other.width, other.height) == (1248, 832)
        assert other.hints[0].startswith("width: 1536x1024 became 1248x832")


def test_sizes_that_pipelines_generate_by_themselves_stay_and_may_be_asked_for() -> None:
    sides = range(64, 2049, 32)
    for entry in full_catalogue(None).entries.values():
        for task, own in entry.family_spec.own_size.items():
            limits = entry.tasks[task].limits
            asked = ((width, height) for width in sides for height in sides if not too_long(width, height))
            found = {own(*fitted_size(*size, limits)) for size in asked}
            assert all(own(*size) == size for size in found)
            assert not any(too_long(*size) for size in found)
            for size in found:
                check_size(*size, limits)


def test_an_image_of_the_proportions_asked_for_is_not_cropped_when_its_pipeline_rounds_them() -> None:
    image, mask = Image.new("RGB", (1280, 720)), Image.new("L", (1280, 720), 255)
    draft = Draft(prompt="an apple", task=Task.INPAINT, image=image, mask=mask, width=1280, height=720)
    request = resolve(draft, Catalogue([entry_of("qwen-image-edit")]), LIMITS_OF_SERVER)
    assert [hint.partition(":")[0] for hint in request.hints] == ["width"]


def ending(**fields: Any) -> GenerationRequest:
    given = {"image": photo(64, 64), "last_image": photo(96, 64), "task": Task.IMAGE_TO_VIDEO, "model": VACE, **fields}
    return resolve(Draft(prompt="a cat", **given), full_catalogue(None), LIMITS_OF_SERVER)


def test_the_last_frame_of_a_video_has_the_size_of_the_first() -> None:
    request = ending(width=256, height=256)
    assert request.last_image is not None
    assert request.last_image.size == (256, 256)
    assert request.hints == ("last_image was cropped to 64x64 of 96x64 pixels; fit=pad keeps all of it",)


def test_a_model_that_sees_two_images_says_what_it_takes_for_the_second() -> None:
    with_one, without = (ending(model=FLF2V, last_image=last).hints for last in (photo(64, 64), None))
    assert with_one == ()
    assert without == ("last_image: none was sent, so the video ends with the image that it starts with",)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": FLF2V, "num_frames": 1}, "^num_frames: 1 at 16 a second is too short for wan21-flf2v-14b-720p"),
        ({"model": "wan21-i2v-14b-480p"}, "^last_image: wan21-i2v-14b-480p takes none"),
        ({"task": Task.TEXT_TO_VIDEO, "image": None}, "^last_image: text-to-video takes none"),
        ({"image": None}, "^image: image-to-video needs one"),
        ({"num_frames": 1}, "^num_frames: 1 is less than 2: the first and the last"),
        ({"last_image": photo(90, 10)}, "^last_image: is 90 x 10 pixels"),
    ],
)
def test_a_last_frame_needs_a_first_and_a_model_for_it(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        ending(**fields)


def test_a_size_that_is_asked_for_wins_over_that_of_the_image() -> None:
    request = resolved(task=Task.IMAGE_TO_IMAGE, image=Image.new("RGB", (64, 64)), width=96, height=32)
    assert (request.width, request.height) == (96, 32)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 64}, (64, 32)),
        ({"height": 64}, (128, 64)),
        ({"width": 96}, (96, 48)),
        ({"height": 96}, (80, 96)),
        ({"width": 32}, (32, 32)),
    ],
    ids=str,
)
def test_a_side_alone_is_completed_by_the_proportions_of_the_image(
    asked: dict[str, int], size: tuple[int, int]
) -> None:
    request = resolved(task=Task.IMAGE_TO_IMAGE, image=photo(200, 100), **asked)
    assert (request.width, request.height) == size


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["guidance_scale", "strength", "deadline_s"])
def test_numbers_are_finite(field: str, value: float) -> None:
    """Every comparison with NaN is false, so that no limit would hold it back."""
    with pytest.raises(ValidationError, match=r"finite|less than or equal"):
        Draft(**{"prompt": "an apple", field: value})


def test_an_image_that_is_looked_at_is_shrunk() -> None:
    assert looked_at(Image.new("RGB", (4000, 1000)), 10_000).size == (200, 50)
    assert looked_at(Image.new("RGB", (64, 8)), 10_000).size == (64, 8)
