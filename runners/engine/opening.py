"""Decodes the videos of requests that are about to start, while the engine goes on with others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakKeyDictionary

from core.generation.request import VIDEOS, GenerationRequest
from runners.engine.ticket import Ticket


class Opening:
    """Belongs to the engine's thread, and has one of its own: seconds of decoding would keep all from their next pass.

    Only what is next is opened: frames of many that wait would fill the memory.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called, from another thread, when something was opened."""
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, "videos")
        self._opened: WeakKeyDictionary[Ticket, Future[GenerationRequest]] = WeakKeyDictionary()

    def begin(self, ticket: Ticket) -> None:
        """Open the videos of a request, unless that has begun."""
        if _has_videos(ticket) and ticket not in self._opened:
            self._opened[ticket] = self._thread.submit(_opened, ticket.request)
            self._opened[ticket].add_done_callback(lambda _: self._wake())

    def is_done(self, ticket: Ticket) -> bool:
        """Whether all videos of a request are open."""
        return self._opened[ticket].done() if ticket in self._opened else not _has_videos(ticket)

    def request_of(self, ticket: Ticket) -> GenerationRequest:
        """Return a request with its videos open, once that is done. Raises UnreadableVideo."""
        return self._opened.pop(ticket).result() if ticket in self._opened else ticket.request

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)


def _has_videos(ticket: Ticket) -> bool:
    return any(getattr(ticket.request, name) is not None for name in VIDEOS)


def _opened(request: GenerationRequest) -> GenerationRequest:
    videos = {name: video.opened() for name in VIDEOS if (video := getattr(request, name)) is not None}
    return request.model_copy(update=videos)
