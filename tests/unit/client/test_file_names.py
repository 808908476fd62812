"""The results of one request become files of their own, also where they share a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.results import Image, Result
from client.terminal.actions import _paths


@pytest.mark.parametrize(
    ("output", "seeds", "names"),
    [
        (None, [5, 6], ["image-5.png", "image-6.png"]),
        (None, [5, 5, 6], ["image-5-1.png", "image-5-2.png", "image-6.png"]),
        ("a.png", [5, 5], ["a-1.png", "a-2.png"]),
        ("a.png", [5], ["a.png"]),
    ],
)
def test_no_two_results_are_saved_in_one_file(output: str | None, seeds: list[int], names: list[str]) -> None:
    results: list[Result] = [Image(b"", "image/png", seed) for seed in seeds]
    assert _paths(output, results) == [Path(name) for name in names]
