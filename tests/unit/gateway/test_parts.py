"""A request for more images than are made at once."""

from __future__ import annotations

import pytest

from core.generation.events import Failed, Loading, Queued, Started, Step
from gateway.request_parts import in_whole, parts_of
from tests.support.engine.drawing import request


@pytest.mark.parametrize(
    ("images", "most", "sizes"),
    [(1, 8, [1]), (8, 8, [8]), (9, 8, [4, 5]), (10, 8, [5, 5]), (10, 3, [2, 3, 2, 3]), (10, 1, [1] * 10)],
)
def test_parts_are_about_equal_and_their_seeds_go_on(images: int, most: int, sizes: list[int]) -> None:
    parts = list(parts_of(request(num_images=images, seed=7), most))
    assert [part.num_images for _, part in parts] == sizes
    assert [part.seed - 7 for _, part in parts] == [first for first, _ in parts]
    assert sum(sizes[:-1]) == parts[-1][0]


def test_layers_are_made_at_once() -> None:
    wanted = request(num_images=10, layered=True)
    assert list(parts_of(wanted, 3)) == [(0, wanted)]


def test_a_request_begins_once() -> None:
    for event in (Loading(0.5), Queued(1), Started(0.1)):
        assert in_whole(event, 0) == event
        assert in_whole(event, 5) is None
    assert in_whole(Step(1, 2, 3), 5) == Step(6, 2, 3)
    assert in_whole(Step(1, 2, 3), 0) == Step(1, 2, 3)


def test_a_failure_is_everybodys() -> None:
    assert in_whole(Failed("busy", "x"), 5) == Failed("busy", "x")
