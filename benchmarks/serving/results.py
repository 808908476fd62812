"""What a run of `benchmarks.serving` measured, as it is kept in `results/serving.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.load import Point
from benchmarks.measured_model import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "results"
FILE = "serving.json"


@dataclass(frozen=True)
class Ratio:
    """Medians of alternating measurements in seconds; `ratio` is the median of the pairs' ratios, above 1 if the engine
    is faster.
    """

    plain_s: float
    engine_s: float
    ratio: float


@dataclass(frozen=True)
class EngineResults:
    alone: Ratio
    batch: Ratio


@dataclass(frozen=True)
class ServingResults:
    """Sections that were not measured are missing."""

    machine: dict[str, Any]
    engine: EngineResults | None
    points: Mapping[str, Mapping[str, list[Point]]]
    """By workload, then by server; one for each repeat."""
    beyond_engine_ms: float | None = None
    """Milliseconds of HTTP, queueing and encoding for a 512x512 image."""

    def write(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> ServingResults:
        return TypeAdapter(cls).validate_json(file.read_text(encoding="utf-8"))
