"""What a long run calls a fault."""

from __future__ import annotations

from collections import Counter

from tests.reliability.callers import ANSWERED
from tests.reliability.footprint import Footprint
from tests.reliability.soak import Minute, faults_of

WELL = Counter({ANSWERED: 100, "job completed": 5})


def minute(memory_mib: float = 500, open_files: int = 100, p95_s: float = 1.0) -> Minute:
    return Minute(Footprint({"jubako": memory_mib}, open_files, 4), 100, p95_s / 2, p95_s)


def test_what_fills_at_first_and_stays_is_no_fault() -> None:
    seen = [minute(memory_mib) for memory_mib in (100, 300, 500, 500, 510, 505, 500, 510)]
    assert list(faults_of(seen, WELL)) == []


def test_what_goes_on_growing_is_a_fault() -> None:
    seen = [minute(500 + 50 * number, 100 + 10 * number, 1.0 + 0.4 * number) for number in range(8)]
    assert [fault.partition(" grew")[0] for fault in faults_of(seen, WELL)] == [
        "memory",
        "open files",
        "the 95th percentile",
    ]


def test_an_end_without_an_answer_is_a_fault() -> None:
    ends = WELL + Counter({"refused 500": 2, "job failed": 1})
    assert list(faults_of([minute()], ends)) == ["2 times: refused 500", "1 times: job failed"]
