"""Progress of downloads from the hub, read from its client's progress bars, which are not shown."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple
from functools import partial
from typing import Any

from huggingface_hub import get_cached_repo_tree, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils._paths import filter_repo_objects
from huggingface_hub.utils.tqdm import tqdm

from core.generation.events import Download

log = logging.getLogger("jubako.loading")

BARS = ("huggingface_hub.snapshot_download", "huggingface_hub.http_get", "huggingface_hub.xet_get")
"""The bars that count bytes on the disk; others count files, or compressed bytes on the network."""
SPEED_OF_LAST_S = 10.0
MARK_EVERY_S = 0.2
LOG_EVERY_S = 10.0
LOG_EVERY_SHARE = 0.1

Report = Callable[[Download], None]


class DownloadMeter:
    """Adds up the bars of one load, which several threads update, and reports and logs the sum."""

    def __init__(self, name: str, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._bars: list[DownloadBar] = []
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._logged_at_s = clock()
        self._logged_share = 0.0

    def add(self, bar: DownloadBar) -> None:
        """Count a bar; its initial value was there before, and does not count towards the speed."""
        with self._lock:
            self._bars.append(bar)
            self._marks = deque((at_s, done + int(bar.n)) for at_s, done in self._marks)

    def move(self, bar: DownloadBar, count: int) -> None:
        with self._lock:
            bar.n += count
            download = self._download()
            self._report(download)
            self._log(download)

    def _download(self) -> Download:
        now_s, done = self._clock(), sum(int(bar.n) for bar in self._bars)
        while len(self._marks) > 1 and now_s - self._marks[1][0] > SPEED_OF_LAST_S:
            self._marks.popleft()
        begun_s, begun = self._marks[0]
        if now_s - self._marks[-1][0] >= MARK_EVERY_S:
            self._marks.append((now_s, done))
        speed = round((done - begun) / (now_s - begun_s)) if now_s > begun_s else 0
        return Download(done, max(done, sum(bar.bytes for bar in self._bars)), max(0, speed))

    def _log(self, download: Download) -> None:
        now_s, share = self._clock(), download.done_bytes / max(1, download.total_bytes)
        due = now_s - self._logged_at_s >= LOG_EVERY_S or share - self._logged_share >= LOG_EVERY_SHARE
        if not due and not self._logged_share < share == 1:
            return
        self._logged_at_s, self._logged_share = now_s, share
        done, total, speed = (value / 1e6 for value in astuple(download))
        log.info("downloading %s: %.1f of %.1f MB (%d%%), %.1f MB/s", self._name, done, total, int(100 * share), speed)


_METER: ContextVar[DownloadMeter | None] = ContextVar("meter", default=None)
_EXPECTED: ContextVar[Callable[[], int]] = ContextVar("expected", default=lambda: 0)


class DownloadBar(tqdm):
    """A hidden progress bar, created in the thread that called the hub's client, and updated in others."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._meter = _METER.get() if options.get("name") in BARS else None
        super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]
        # `total` grows as files are begun; the list of files gives the whole size at once.
        self._expected = _EXPECTED.get()() if self._meter else 0
        if self._meter:
            self._meter.add(self)

    @property
    def bytes(self) -> int:
        """The bytes that it will count in all."""
        return max(self._expected, int(self.total or 0))

    def update(self, n: float | None = 1) -> None:
        if self._meter:
            self._meter.move(self, int(n or 0))


@contextmanager
def reporting_downloads(name: str, report: Report) -> Iterator[None]:
    """Report and log what this thread downloads from the hub in the block; `report` is called in any thread."""
    token = _METER.set(DownloadMeter(name, report))
    try:
        yield
    finally:
        _METER.reset(token)


def bar_class() -> type[DownloadBar] | None:
    """Return the hub's option `tqdm_class`; None, which shows bars on a terminal, outside of `reporting_downloads`."""
    return DownloadBar if _METER.get() else None


def reported_snapshot(repo_id: str, **options: Any) -> str:
    """Call the hub's `snapshot_download`, and report on it."""
    token = _EXPECTED.set(lambda: _missing_bytes(repo_id, **options))
    try:
        return str(snapshot_download(repo_id, **options, tqdm_class=bar_class()))
    finally:
        _EXPECTED.reset(token)


def _missing_bytes(
    repo_id: str,
    *,
    revision: str | None = None,
    allow_patterns: Any = None,
    ignore_patterns: Any = None,
    **_options: Any,
) -> int:
    """Return the bytes of the files that a snapshot still lacks, by the list that the hub's client has just fetched."""
    cached = partial(try_to_load_from_cache, repo_id, revision=revision)
    files = filter_repo_objects(
        get_cached_repo_tree(repo_id, revision=revision),
        allow_patterns=allow_patterns,
        ignore_patterns=ignore_patterns,
        key=lambda file: file.path,
    )
    return sum(file.size for file in files if not isinstance(cached(file.path), str))
