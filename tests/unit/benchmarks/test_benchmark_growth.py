"""The table of how cost grows: against which ideal, and with which slope."""

from __future__ import annotations

from benchmarks.growth.axes import CALLERS_AXIS, Measured
from benchmarks.growth.table import ideals, shares, slopes, table


def test_callers_share_passes_until_the_device_is_busy() -> None:
    line = [Measured(CALLERS_AXIS, n, "images/s", speed) for n, speed in ((1, 2.0), (4, 6.0), (16, 8.0), (64, 6.0))]
    assert ideals(line) == [2, 8, 8, 8]
    assert shares(line) == [1, 0.75, 1, 0.75]


def test_a_cost_is_ideal_where_it_is_least() -> None:
    line = [Measured("steps", n, "ms a step", cost) for n, cost in ((1, 40.0), (4, 20.0), (16, 10.0))]
    assert ideals(line) == [10, 10, 10]
    assert shares(line) == [0.25, 0.5, 1]
    assert slopes(line) == [None, -0.5, -0.5]


def test_axes_stand_together_with_the_smallest_value_first() -> None:
    found = [
        Measured("steps", 4, "ms a step", 20.0),
        Measured("models", 1, "images/s", 5.0, "10 MiB"),
        Measured("steps", 1, "ms a step", 20.0),
    ]
    assert table(found).splitlines()[2:] == [
        "| steps | 1 | 20 ms a step | 20 | 100% |  |  |",
        "| steps | 4 | 20 ms a step | 20 | 100% | +0.00 |  |",
        "| models | 1 | 5 images/s | 5 | 100% |  | 10 MiB |",
    ]
