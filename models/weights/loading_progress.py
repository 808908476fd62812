"""Progress of loading a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

log = logging.getLogger("jubako.loading")

Report = Callable[[float], None]
"""Takes a fraction from 0 to 1."""


@contextmanager
def reporting_components(path: Path, report: Report) -> Iterator[None]:
    """Report the fraction of a checkpoint's bytes that has been read whenever diffusers starts on another component.

    diffusers has no hook for this, but loops over a progress bar, which this replaces during the block. Load one
    pipeline at a time.
    """

    def watched(components: Iterable[Any] | None = None, **options: Any) -> Any:
        if components is None:
            return bar(**options, disable=True)
        return _reported(list(components), path, report)

    bar = diffusers_logging.tqdm
    own = transformers_logging.set_tqdm_hook(_silent)
    diffusers_logging.tqdm = watched
    try:
        yield
    finally:
        diffusers_logging.tqdm = bar
        transformers_logging.set_tqdm_hook(own)


def _silent(factory: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return factory(*args, **{**options, "disable": True})


def _reported(components: list[Any], path: Path, report: Report) -> Iterator[Any]:
    sizes = [_bytes(path / name) for name, _ in components]
    done = 0
    for component, size in zip(components, sizes, strict=True):
        yield component
        done += size
        report(done / sum(sizes))


def _bytes(folder: Path) -> int:
    """Return the size of a component's files; all components of a single-file checkpoint count equally."""
    return 1 + sum(file.stat().st_size for file in folder.glob("*"))


class ProgressLog:
    """Passes progress on, and logs a line with a bar at each quarter."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report
        self._quarter = -1

    def __call__(self, progress: float) -> None:
        self._report(progress)
        quarter = int(progress * 4)
        if quarter > self._quarter:
            self._quarter = quarter
            filled = "#" * (5 * quarter)
            log.info("loading %s [%-20s] %3d%%", self._name, filled, 25 * quarter)
