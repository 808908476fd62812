"""The engine compared with the plain pipeline, without HTTP: one request, and a batch of them.

Each side is a process, and the two take turns. In a single process each would have an OpenMP team, and with more
threads than cores, libgomp lets all of them sleep between operations.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from statistics import median
from types import TracebackType
from typing import Any, Self

from benchmarks.measured_model import ALLOCATOR, REPOSITORY
from benchmarks.serving.results import EngineResults, Ratio
from benchmarks.workloads import MOST_CALLERS


class GeneratingProcess:
    """`benchmarks.serving.engine_or_plain` in a process."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.engine_or_plain", name],
            cwd=REPOSITORY,
            env={**environment, **ALLOCATOR},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.machine: dict[str, Any] = json.loads(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def seconds(self, images: int) -> float:
        """Generate a number of images at once; return the seconds that this took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{images}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a side ended; its error is above")
        return line


def measure_sides(environment: Mapping[str, str], pairs: int) -> tuple[dict[str, Any], EngineResults | None]:
    """Return a description of the machine, and the results unless `pairs` is 0."""
    with ExitStack() as stack:
        plain = stack.enter_context(GeneratingProcess("plain", environment))
        if not pairs:
            return plain.machine, None
        engine = stack.enter_context(GeneratingProcess("engine", environment))
        alone = _compare(plain, engine, 1, pairs)
        return plain.machine, EngineResults(alone, _compare(plain, engine, MOST_CALLERS, pairs))


def _compare(plain: GeneratingProcess, engine: GeneratingProcess, images: int, pairs: int) -> Ratio:
    """Alternate between the two; the first pair warms up."""
    seconds = [(plain.seconds(images), engine.seconds(images)) for _ in range(pairs + 1)][1:]
    plain_s, engine_s = (median(side) for side in zip(*seconds, strict=True))
    return Ratio(plain_s, engine_s, median(each / other for each, other in seconds))
