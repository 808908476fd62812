"""The page's table of jobs, from the lists of the server."""

from __future__ import annotations

from typing import Any

from ui.job_rows import COLUMNS, in_order


def test_what_runs_and_waits_comes_before_what_has_ended() -> None:
    ended = [_row(f"e{number}", status) for number, status in enumerate(("completed", "failed", "cancelled"))]
    listed = [_row("w2", "pending"), _row("w1", "pending"), _row("r", "processing"), *ended, _row("w1", "pending")]
    assert [row[0] for row in in_order(listed)] == ["w2", "w1", "r", "e0", "e1", "e2"]


def test_a_job_that_goes_on_between_two_lists_is_as_the_later_has_it() -> None:
    listed = [_row("a", "pending"), _row("b", "pending"), _row("a", "processing"), _row("b", "completed")]
    assert in_order(listed) == [_row("a", "processing"), _row("b", "completed")]


def _row(job_id: str, status: str) -> list[Any]:
    return [{"id": job_id, "status": status}.get(name, "") for name in COLUMNS]
