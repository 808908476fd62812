"""Sizes that passes are rounded up to, and what passes are compiled for."""

from __future__ import annotations

import pytest

from models.weights.compiling.shapes import CompiledShapes, bucket_of


@pytest.mark.parametrize(("size", "bucket"), [(1, 1), (2, 2), (3, 4), (8, 8), (9, 16), (17, 24)])
def test_a_size_is_rounded_up_to_the_next_bucket(size: int, bucket: int) -> None:
    assert bucket_of(size, (1, 2, 4, 8)) == bucket


def test_shapes_are_learnt_until_all_are_known() -> None:
    shapes = CompiledShapes()
    assert shapes.admit("a")
    shapes.complete = True
    assert shapes.admit("a")
    assert not shapes.admit("b")
    assert not shapes.admit("b")
