"""What `make benchmark` writes follows from its results alone: the ratios, the verdicts, and the pages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.load import Point
from benchmarks.serving.documents import PAGE, README, block_of, filled, page_block, readme_block
from benchmarks.serving.measures import MEASURES, comparisons, failures, targets
from benchmarks.serving.plan import ALONE, LONG, MIXED, SHORT, UNIFORM
from benchmarks.serving.results import FILE, FOLDER, EngineResults, Ratio, ServingResults

FAST = {ALONE: 2.0, UNIFORM: 8.0, MIXED: 6.0, SHORT: 2.0, LONG: 2.0}


def points(images_per_s: float, p95_s: float, failed: int = 0) -> list[Point]:
    """Three repeats, of which the middle one is the median."""
    return [Point(10, failed, images_per_s * share, p95_s, p95_s * share) for share in (0.5, 1.0, 1.2)]


def results(**changes: object) -> ServingResults:
    """Jubako beats both others by the factor 2 in images per second, and by 10 in seconds."""
    by_workload = {
        workload: {
            "jubako": points(rate, 0.2),
            "litserve": points(rate / 2, 2.0),
            "plain": points(rate / 4, 9.0),
        }
        for workload, rate in FAST.items()
    }
    machine = {"title": "2 CPU cores", "model": "miniature", "torch": "2", "repeats": 3}
    engine = EngineResults(alone=Ratio(0.4, 0.4, 1.0), batch=Ratio(1.8, 1.9, 0.95))
    return replace(ServingResults(machine, engine, by_workload), **changes)  # type: ignore[arg-type]


def test_jubako_is_compared_with_the_best_of_the_others() -> None:
    found = {each.measure.workload: each for each in comparisons(results())}
    assert {workload: each.best for workload, each in found.items()} == dict.fromkeys(FAST, "litserve")
    assert found[UNIFORM].ratio == pytest.approx(2.0)
    assert found[SHORT].ratio == pytest.approx(0.1)
    assert found[UNIFORM].figures["jubako"].lowest == pytest.approx(4.0)


def test_a_ratio_is_that_within_repeats_since_the_machine_is_slower_in_some() -> None:
    def at(*rates: float) -> list[Point]:
        return [Point(10, 0, rate, 1.0, 1.0) for rate in rates]

    # Medians of 3 and 4: Jubako is faster in all repeats but the last, in which only it had a slow machine.
    by_server = {"jubako": at(6.0, 3.0, 2.0), "litserve": at(5.0, 2.5, 4.0)}
    (found,) = comparisons(results(points={UNIFORM: by_server}))
    assert found.ratio == pytest.approx(1.2)


def test_the_best_in_seconds_is_the_one_that_waits_least() -> None:
    slow = {**results().points[SHORT], "litserve": points(9.0, 20.0)}
    found = {each.measure.workload: each for each in comparisons(results(points={SHORT: slow}))}
    assert found[SHORT].best == "plain"


def test_bars_are_those_of_the_contest() -> None:
    bars = {measure.workload: measure.bound for measure in MEASURES}
    assert bars == {ALONE: 0.98, UNIFORM: 1.0, MIXED: 1.5, SHORT: 0.15, LONG: 0.95}
    missed = [target for target in targets(results()) if not target.reached]
    assert [(target.value, target.bound) for target in missed] == [(0.95, 0.97)]


def test_what_was_not_measured_is_neither_compared_nor_judged() -> None:
    nothing = results(points={}, engine=None)
    assert not list(comparisons(nothing))
    alone = results(points={UNIFORM: {"jubako": points(8.0, 1.0)}}, engine=None)
    assert not list(comparisons(alone))


def test_pages_name_what_is_missed_and_who_failed() -> None:
    block = readme_block(results())
    assert (
        "| 16 callers, 20 steps | 8.00 images/s | 4.00 images/s (LitServe 0.2.19) | 2.00 | at least 1: met |" in block
    )
    assert "0.20 s | 2.00 s (LitServe 0.2.19) | 0.10 | at most 0.15: met |" in block
    assert "Missed: engine without HTTP, 16 images at once." in block
    assert "No server failed a request." in block
    failed = results(points={UNIFORM: {**results().points[UNIFORM], "plain": points(1.0, 1.0, failed=5)}})
    assert failures(failed) == {"plain": 15}
    assert "Failed requests: FastAPI 15." in page_block(failed)


def test_what_is_beyond_the_engine_has_a_bar() -> None:
    title = "HTTP, queue and encoding beyond the engine, 512x512, ms"
    for spent_ms, reached in ((9.0, True), (10.5, False)):
        measured = results(beyond_engine_ms=spent_ms)
        assert {each.title: each.reached for each in targets(measured)}[title] is reached
        assert f"take {spent_ms:.2f} ms of a 512x512 image beyond the engine; goal at most 10" in page_block(measured)
        assert (title in readme_block(measured)) is not reached


def test_a_block_replaces_the_last_one_and_nothing_else() -> None:
    page = filled(README.read_text(encoding="utf-8"), "first")
    again = filled(page, "second")
    assert block_of(again) == "second"
    assert again == page.replace("\n\nfirst\n\n", "\n\nsecond\n\n")


@pytest.mark.skipif(not (FOLDER / FILE).exists(), reason="nothing was measured yet")
def test_pages_hold_the_figures_of_the_kept_results() -> None:
    kept = ServingResults.read(FOLDER / FILE)
    assert block_of(README.read_text(encoding="utf-8")) == readme_block(kept)
    assert block_of(PAGE.read_text(encoding="utf-8")) == page_block(kept)
