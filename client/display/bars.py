"""A bar that follows the events of a stream or a job, and shows previews under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..events import Event
from .terminal_images import as_text

TITLE_CHARS = 30


class Bar:
    def __init__(self, title: str, live: Live | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns)
        shown = title if len(title) <= TITLE_CHARS else title[: TITLE_CHARS - 1] + "…"
        # Square brackets in a prompt are not mark-up.
        self._task = self._progress.add_task(shown.replace("[", r"\["), total=1.0, doing="waiting")
        self._preview: RenderableType | None = None
        self._live = live

    def show(self, event: Event) -> None:
        """Show what an event says."""
        if self._live is None:
            return
        if event.preview is not None:
            self._preview = as_text(event.preview)
        else:
            self._progress.update(self._task, doing=_doing(event))
        if event.share is not None:
            self._progress.update(self._task, completed=event.share)
        self._live.update(self.drawn)

    @property
    def drawn(self) -> RenderableType:
        return self._progress if self._preview is None else Group(self._progress, self._preview)


@contextmanager
def bar(title: str, shown: bool = True, console: Console | None = None) -> Iterator[Bar]:
    """Yield a bar on the standard error; it disappears at the end."""
    if not shown:
        yield Bar(title)
        return
    with Live(console=console or Console(stderr=True), transient=True) as live:
        found = Bar(title, live)
        live.update(found.drawn)
        yield found


def _doing(event: Event) -> str:
    if event.name == "step" and "steps" in event.data:
        return f"step {event.data['step']} of {event.data['steps']}"
    if event.name == "queued" and "position" in event.data:
        return f"number {event.data['position']} in the queue"
    return str(event.data.get("message") or event.name).lower()
