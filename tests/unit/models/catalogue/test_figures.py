"""What has been counted of the shipped models: the figures, what follows from them, and deadlines."""

from __future__ import annotations

import pytest

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import Task
from models.catalogue.catalogue import SHIPPED, load_catalogue
from models.catalogue.memory.figures import RESERVE_GIB
from models.catalogue.resolving.deadlines import default_deadline_s, longest_deadline_s, work_s
from models.catalogue.resolving.resolve import ServerLimits, resolve
from settings import Settings
from tests.support.resolving import LIMITS_OF_SERVER

CATALOGUE = load_catalogue(*SHIPPED)
SERVER = ServerLimits(100, max_num_images=4, max_deadline_s=600, tflops=400, background_deadline_s=9000)
A14B = Draft(task=Task.TEXT_TO_VIDEO, model="wan22-t2v-a14b", prompt="a cat")


@pytest.mark.parametrize("model", [model for model, entry in CATALOGUE.entries.items() if entry.source.repo])
def test_every_shipped_model_has_been_counted(model: str) -> None:
    entry = CATALOGUE.get(model)
    assert entry.figures is not None
    weights, work_gib = entry.figures.all_weights_gib, entry.memory_gib - RESERVE_GIB
    assert weights < work_gib
    assert work_gib >= weights + entry.figures.denoising_gib - 0.1
    assert entry.figures.tiled_gib <= entry.figures.decoding_gib + 0.5


def test_decoding_needs_what_was_measured() -> None:
    figures = CATALOGUE.get("sdxl").figures
    assert figures is not None
    assert figures.decoding_gib == pytest.approx(3.0, abs=0.05)
    assert figures.decode_tokens(24 + RESERVE_GIB) == pytest.approx(8 * 128 * 128, rel=0.02)
    assert figures.decode_tokens(0) == 1


def test_a_video_model_fits_where_its_clips_are_decoded_in_tiles() -> None:
    entry = CATALOGUE.get("wan22-t2v-a14b")
    assert entry.figures is not None
    assert entry.figures.decoding_gib == pytest.approx(17.5, abs=0.5)
    assert entry.memory_gib < 80 < entry.figures.all_weights_gib + entry.figures.decoding_gib


def test_a_deadline_follows_the_work_of_the_model() -> None:
    request = resolve(A14B, CATALOGUE, SERVER)
    assert request.deadline_s is not None
    assert request.deadline_s == pytest.approx(600 + 22 * 60, rel=0.05)
    short = resolve(A14B.model_copy(update={"num_inference_steps": 4}), CATALOGUE, SERVER)
    assert short.deadline_s == pytest.approx(600 + (request.deadline_s - 600) / 10)
    image = resolve(Draft(task=Task.TEXT_TO_IMAGE, model="sdxl", prompt="a cat"), CATALOGUE, SERVER)
    assert image.deadline_s == pytest.approx(600, abs=2)


def test_a_device_of_the_expected_speed_has_time_left_beside_its_work() -> None:
    """For the line, loading, decoding and others' rows: the operator's seconds, however long the work is."""
    for draft in (A14B, A14B.model_copy(update={"num_inference_steps": 4})):
        request = resolve(draft, CATALOGUE, SERVER)
        assert request.deadline_s is not None
        assert request.deadline_s - work_s(CATALOGUE.get("wan22-t2v-a14b"), request, SERVER.tflops) == 600


def test_moving_a_model_may_take_as_long_as_its_default_request() -> None:
    settings = Settings(request_timeout_s=600, expected_tflops=400)
    assert default_deadline_s(CATALOGUE.get("wan22-t2v-a14b"), settings) == pytest.approx(600 + 22 * 60, rel=0.05)
    assert default_deadline_s(CATALOGUE.get("miniature"), settings) == 600


def test_no_deadline_is_behind_the_servers_own_bound() -> None:
    entry, settings = CATALOGUE.get("wan22-t2v-a14b"), Settings(request_timeout_s=600, expected_tflops=400)
    longest = A14B.model_copy(update={"num_inference_steps": entry.tasks[A14B.task].limits.max_steps, "num_images": 4})
    request = resolve(longest, CATALOGUE, SERVER)
    assert request.deadline_s is not None
    assert request.deadline_s <= longest_deadline_s([entry], settings)


def test_a_caller_may_give_as_long_as_the_work_takes_and_no_longer() -> None:
    assert resolve(A14B.model_copy(update={"deadline_s": 1200}), CATALOGUE, SERVER).deadline_s == 1200
    assert resolve(A14B.model_copy(update={"deadline_s": 5}), CATALOGUE, SERVER).deadline_s == 5
    with pytest.raises(InvalidRequest, match="deadline_s"):
        resolve(A14B.model_copy(update={"deadline_s": 3600}), CATALOGUE, SERVER)


def test_what_nobody_waits_for_has_a_bound_of_its_own() -> None:
    assert resolve(A14B, CATALOGUE, SERVER, background=True).deadline_s == 9000
    assert resolve(A14B, CATALOGUE, LIMITS_OF_SERVER, background=True).deadline_s is None
