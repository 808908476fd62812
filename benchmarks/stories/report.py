"""The results of the story benchmark: as a table, as targets, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.stories.story_makers import FRAMES
from benchmarks.target import Target

VALIDATED, UNVALIDATED = "simple", "simple, each frame drawn once"
GUIDED, MORE_GUIDED = "reference-guided", "reference-guided, scale 0.6"


@dataclass(frozen=True)
class Speed:
    """Seconds for whole stories; `ratio` is the median of the pairs' ratios."""

    plain_s: float
    jubako_s: float
    ratio: float
    jubako_worst_s: float
    draws: int
    """Frames generated for all stories, including rejected tries."""
    differing: int
    """The number of frames that differ between the two by more than 1/255 in any pixel."""


@dataclass(frozen=True)
class Crowd:
    """Several concurrent stories, which the plain process generates one by one. Means are over the clients."""

    callers: int
    plain_s: float
    plain_mean_s: float
    jubako_s: float
    jubako_mean_s: float


@dataclass(frozen=True)
class Quality:
    """Means over all stories."""

    seconds: float
    score: float
    worst_score: float
    tries: float
    likeness: float
    """Mean CLIP cosine of the centres of two frames that show the character, over all such pairs."""


@dataclass(frozen=True)
class StoryResults:
    machine: dict[str, Any]
    speed: Speed
    crowd: Crowd
    quality: dict[str, Quality]
    """By mode."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"bars": [asdict(bar) | {"reached": bar.reached} for bar in self.bars()]}

    def bars(self) -> Iterator[Target]:
        yield Target("frames unlike the plain pipeline's", self.speed.differing, 0, at_most=True)
        yield Target(f"slowest story of {FRAMES} frames, s", self.speed.jubako_worst_s, 60, at_most=True)
        yield Target("a story alone, plain / Jubako", self.speed.ratio, 1, at_most=False)
        yield Target(
            f"{self.crowd.callers} stories, plain / Jubako", self.crowd.plain_s / self.crowd.jubako_s, 1, at_most=False
        )
        gain = self.quality[VALIDATED].score - self.quality[UNVALIDATED].score
        yield Target("mean score, gained by validation", gain, 0, at_most=False)
        if GUIDED in self.quality:
            gain = self.quality[GUIDED].likeness - self.quality[VALIDATED].likeness
            yield Target("likeness of the character, gained by the reference", gain, 0, at_most=False)


def print_report(measured: StoryResults) -> None:
    speed, crowd = measured.speed, measured.crowd
    print(f"\n{'':<40}{'plain s':>10}{'Jubako s':>10}{'ratio':>8}")
    print(f"{f'{FRAMES} frames':<40}{speed.plain_s:10.2f}{speed.jubako_s:10.2f}{speed.ratio:8.2f}")
    for title, plain_s, jubako_s in (
        (f"{crowd.callers} stories at once, until the last", crowd.plain_s, crowd.jubako_s),
        (f"{crowd.callers} stories at once, mean of the callers", crowd.plain_mean_s, crowd.jubako_mean_s),
    ):
        print(f"{title:<40}{plain_s:10.2f}{jubako_s:10.2f}{plain_s / jubako_s:8.2f}")
    print(f"\n{'':<40}{'seconds':>8}{'score':>10}{'worst':>10}{'tries':>8}{'likeness':>10}")
    for mode, each in measured.quality.items():
        print(
            f"{mode:<40}{each.seconds:8.2f}{each.score:10.3f}{each.worst_score:10.3f}{each.tries:8.2f}{each.likeness:10.3f}"
        )
    print()
    for bar in measured.bars():
        print(bar)
