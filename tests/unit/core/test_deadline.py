"""What is left of the time that a caller gives."""

from __future__ import annotations

import asyncio
import time

import pytest

from core.deadline import Deadline
from core.errors import DeadlineExceeded
from tests.support.engine.drawing import request


def ago(seconds: float) -> float:
    return time.monotonic() - seconds


def test_a_request_that_waited_has_the_rest() -> None:
    left_s = Deadline(10.0, ago(4.0)).remaining(request(deadline_s=10.0)).deadline_s
    assert left_s == pytest.approx(6.0, abs=0.1)


def test_a_wait_too_short_to_notice_changes_nothing() -> None:
    asked = request(deadline_s=10.0)
    assert Deadline(10.0, ago(0.01)).remaining(asked) is asked


def test_the_rest_is_never_zero_which_would_stand_for_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.1999)
    left_s = Deadline(0.2, 100.0).remaining(request(deadline_s=0.2)).deadline_s
    assert 0 < (left_s or 0) < 0.01


def test_one_that_has_passed_is_an_error_which_quotes_the_callers_figure() -> None:
    deadline = Deadline(2.5, ago(3.0))
    assert deadline.passed
    assert deadline.left_s == 0
    with pytest.raises(DeadlineExceeded, match=r"^deadline_s: 2.5 s have passed$"):
        deadline.remaining(request(deadline_s=2.5))
    assert deadline.exceeded("while the model was loading").message == (
        "deadline_s: 2.5 s have passed while the model was loading"
    )


def test_without_seconds_it_never_passes() -> None:
    deadline = Deadline(None, ago(1e6))
    assert not deadline.passed
    assert deadline.left_s == float("inf")
    asked = request()
    assert deadline.remaining(asked) is asked


async def test_it_limits_what_a_block_awaits() -> None:
    with pytest.raises(DeadlineExceeded, match=r"^deadline_s: 0.01 s have passed before the end$"):
        async with Deadline(0.01).limiting("before the end"):
            await asyncio.Event().wait()


async def test_a_timeout_of_the_block_itself_stays_one() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        async with Deadline(60).limiting("before the end"):
            raise TimeoutError("its own")


async def test_without_seconds_it_limits_nothing() -> None:
    async with Deadline(None).limiting("before the end"):
        await asyncio.sleep(0)
