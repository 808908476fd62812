"""How busy a server is, from two readings of its metrics."""

from __future__ import annotations

import pytest

from ui.server_load import Reading, ServerLoad

METRICS = """\
# HELP jubako_images_total Images.
jubako_images_total{model="a"} 4.0
jubako_images_total{model="b"} 6.0
jubako_images_total_of_others 900.0
jubako_queue_length{model="a"} 3.0
jubako_batch_size_sum{model="a"} 40.0
jubako_batch_size_count{model="a"} 10.0
"""


def reading(at_s: float, **found: float) -> Reading:
    return Reading(**{"at_s": at_s, "images": 0.0, "queued": 0.0, "batched": 0.0, "passes": 0.0, **found})


def test_metrics_are_summed_over_models() -> None:
    found = Reading.of(METRICS)
    assert (found.images, found.queued, found.batched, found.passes) == (10, 3, 40, 10)


def test_rates_are_those_since_the_reading_before() -> None:
    before = reading(10, images=4, batched=10, passes=5)
    after = reading(12, images=10, batched=50, passes=15, queued=2)
    assert ServerLoad.between(before, after) == ServerLoad(images_per_s=3.0, batch_size=4.0, queued=2)


@pytest.mark.parametrize("passes", [0.0, 5.0])
def test_a_server_that_has_started_again_counts_from_nothing(passes: float) -> None:
    load = ServerLoad.between(
        reading(0, images=90, batched=900, passes=90), reading(1, images=2, batched=15, passes=passes)
    )
    assert load.images_per_s == 2.0
    assert load.batch_size == (3.0 if passes else 0.0)
