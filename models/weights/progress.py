"""How far the loading of a pipeline is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

log = logging.getLogger("jubako.loading")

Tell = Callable[[float], None]
"""Takes a fraction from 0 to 1."""


@contextmanager
def telling_components(path: Path, tell: Tell) -> Iterator[None]:
    """Tell the fraction of a checkpoint's bytes that is read, whenever diffusers goes on to its next component.

    diffusers has no hook for this, but loops over a progress bar of its own, which this replaces meanwhile; one
    pipeline can be loaded at a time.
    """

    def watched(components: Iterable[Any] | None = None, **options: Any) -> Any:
        if components is None:
            return bar(**options, disable=True)
        return _told(list(components), path, tell)

    bar = diffusers_logging.tqdm
    own = transformers_logging.set_tqdm_hook(lambda factory, args, options: _silent(factory, args, options))
    diffusers_logging.tqdm = watched
    try:
        yield
    finally:
        diffusers_logging.tqdm = bar
        transformers_logging.set_tqdm_hook(own)


def _silent(factory: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return factory(*args, **{**options, "disable": True})


def _told(components: list[Any], path: Path, tell: Tell) -> Iterator[Any]:
    sizes = [_bytes(path / name) for name, _ in components]
    done = 0
    for component, size in zip(components, sizes, strict=True):
        yield component
        done += size
        tell(done / sum(sizes))


def _bytes(folder: Path) -> int:
    """The size of a component's files; those of a single-file checkpoint count alike."""
    return 1 + sum(file.stat().st_size for file in folder.glob("*"))


class Bar:
    """Writes a line with a bar to the log at each quarter."""

    def __init__(self, name: str, tell: Tell) -> None:
        self._name = name
        self._tell = tell
        self._quarter = -1

    def __call__(self, progress: float) -> None:
        self._tell(progress)
        quarter = int(progress * 4)
        if quarter > self._quarter:
            self._quarter = quarter
            filled = "#" * (5 * quarter)
            log.info("loading %s [%-20s] %3d%%", self._name, filled, 25 * quarter)
