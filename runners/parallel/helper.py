"""A process that computes its share of a model's passes: `python -m runners.parallel.helper FD`.

It gets the denoisers, weights included, from its parent, and ends when the parent does.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from runners.parallel.messages import Channel, Gone, restored, share

log = logging.getLogger("jubako.parallel")

DONE, OUT_OF_MEMORY, ERROR = OUTCOMES = ("done", "out-of-memory", "error")


def main(connection: socket.socket) -> None:
    """Execute the parent's orders until it closes the connection."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Signals go to all processes of a server, but the parent still has requests to finish.
        signal.signal(number, signal.SIG_IGN)
    channel, inbox = Channel(connection), queue.SimpleQueue[dict[str, Any]]()
    threading.Thread(target=_receive, args=(channel, inbox), daemon=True).start()
    _Helper(channel, inbox.get()).work(inbox)


def _receive(channel: Channel, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Queue the parent's orders, and end the process with its parent, even in the middle of a pass."""
    try:
        while True:
            inbox.put(channel.receive())
    except Gone:
        os._exit(0)


class _Helper:
    def __init__(self, channel: Channel, place: dict[str, Any]) -> None:
        # Imported only now that there is a thread which ends the process with its parent.
        import torch

        from runners.parallel.rank import Rank

        torch.set_grad_enabled(False)
        self._channel = channel
        self._rank = Rank(place["rank"], place["size"], torch.device(place["device"]))
        self._denoisers: dict[str, Any] = {}
        channel.send(outcome=DONE)

    def work(self, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
        while True:
            ((order, given),) = inbox.get().items()
            if order == "meet":
                self._meet(Path(given))
            else:
                self._channel.send(outcome=self._outcome(order, given))

    def _meet(self, meeting: Path) -> None:
        self._rank.leave()
        self._rank.join(meeting)
        self._channel.send(outcome=DONE)

    def _outcome(self, order: str, given: dict[str, Any]) -> str:
        import torch

        try:
            self._build(**given) if order == "build" else self._call(**given)
        except torch.OutOfMemoryError:
            outcome = OUT_OF_MEMORY
        except Exception:
            # Also if another process has left the pass, in which case that one logs the cause.
            log.exception("a process of a group failed")
            outcome = ERROR
        else:
            return DONE
        self._rank.leave()
        return outcome

    def _build(self, name: str, config: dict[str, Any], attention: str | None, weights: dict[str, Any]) -> None:
        from runners.parallel.building import empty_denoiser

        denoiser, tensors = empty_denoiser(config, weights, self._rank.device)
        share(tensors)
        if attention is not None:
            denoiser.set_attention_backend(attention)
        self._rank.split(denoiser)
        self._denoisers[name] = denoiser

    def _call(self, name: str, arguments: Any) -> None:
        tensors: list[Any] = []
        positional, named = restored(arguments, tensors, self._rank.device)
        share(tensors)
        self._denoisers[name](*positional, **named)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
