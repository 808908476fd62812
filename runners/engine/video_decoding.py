"""Decodes the videos of requests that are about to start, while the engine goes on with others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from weakref import WeakKeyDictionary

from core.errors import GenerationFailed
from core.generation.request import GenerationRequest
from runners.engine.ticket import Ticket

MOST_PX = 2**28
"""The most pixels in all videos of running requests, unless a single one has more. Pipelines keep them as floats, 12
bytes a pixel, from start to end; two default clips of Wan Animate have 180 million."""
log = logging.getLogger("jubako.engine")


class VideoDecoder:
    """Belongs to the engine's thread, but decodes on its own, so that the seconds this takes hold up no pass.

    Only the videos of the next request are opened: the frames of all waiting ones would fill the memory.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called from another thread when videos have been opened."""
        self._wake = wake
        self._thread = ThreadPoolExecutor(1, "videos")
        self._opened: WeakKeyDictionary[Ticket, tuple[Future[GenerationRequest], Event]] = WeakKeyDictionary()

    def begin(self, ticket: Ticket) -> None:
        """Begin to open the videos of a request, unless that has begun already."""
        if ticket.request.named_videos and ticket not in self._opened:
            dropped = Event()
            future = self._thread.submit(_opened, ticket.request, dropped)
            self._opened[ticket] = future, dropped
            future.add_done_callback(lambda _: self._wake())

    def is_done(self, ticket: Ticket) -> bool:
        """Whether all videos of a request are open, or have failed to open."""
        return self._opened[ticket][0].done() if ticket in self._opened else not ticket.request.named_videos

    def request_of(self, ticket: Ticket) -> GenerationRequest:
        """Return a request with its videos open, once that is done. Raises GenerationFailed."""
        return self._opened.pop(ticket)[0].result() if ticket in self._opened else ticket.request

    def drop(self, ticket: Ticket) -> None:
        """Stop opening the videos of a request that has ended."""
        if ticket in self._opened:
            future, dropped = self._opened.pop(ticket)
            future.cancel()
            dropped.set()

    def has_room_for(self, ticket: Ticket, running: Iterable[Ticket]) -> bool:
        """Whether a request's videos fit beside those of the running requests."""
        taken_px = sum(_pixels(each.request) for each in running)
        return not taken_px or taken_px + _pixels(ticket.request) <= MOST_PX

    def close(self) -> None:
        for ticket in list(self._opened):
            self.drop(ticket)
        self._thread.shutdown(cancel_futures=True)


def _pixels(request: GenerationRequest) -> int:
    return sum(video.width * video.height * video.num_frames for video in request.named_videos.values())


def _opened(request: GenerationRequest, dropped: Event) -> GenerationRequest:
    opened = {}
    for name, video in request.named_videos.items():
        frames = []
        try:
            for frame in video.frames():
                if dropped.is_set():
                    # The request has ended.
                    return request
                frames.append(frame)
        except Exception as error:
            log.exception("a video cannot be decoded")
            raise GenerationFailed(f"{name} cannot be decoded") from error
        opened[name] = video.opened(frames)
    return request.model_copy(update=opened)
