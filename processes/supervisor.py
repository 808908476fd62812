"""The process that `bentoml serve` starts, and that starts and stops all others with circus."""

from __future__ import annotations

import os
import signal
from typing import Any

STARTED_BY_SUPERVISOR = "BENTOML_RUNNER_MAP"
"""BentoML's supervisor sets it in every process that it starts, with the addresses of the others."""


def end_at_second_signal() -> None:
    """Have a second Ctrl-C or SIGTERM end the server without waiting; does nothing in the processes it starts.

    Circus takes note of the first only, and would then wait for a day.
    """
    if STARTED_BY_SUPERVISOR in os.environ:
        return
    from circus.sighandler import SysHandler

    handler: Any = SysHandler
    begin = handler.quit

    def quit_or_hurry(self: Any) -> None:
        if getattr(self, "told_to_stop", False):
            _hurry(self.controller.arbiter)
        else:
            self.told_to_stop = True
            begin(self)

    handler.quit = quit_or_hurry


def _hurry(arbiter: Any) -> None:
    """Send SIGINT to all processes, which makes `processes.drain` wait no longer."""
    for watcher in arbiter.iter_watchers():
        for process in watcher.processes.values():
            process.send_signal(signal.SIGINT)
