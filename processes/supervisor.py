"""The process that `bentoml serve` starts, and that starts and stops all others with circus."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

STARTED_BY_SUPERVISOR = "BENTOML_RUNNER_MAP"
"""BentoML's supervisor sets it in every process that it starts, with the addresses of the others."""
SUPERVISOR = "_JUBAKO_SUPERVISOR"
"""The supervisor's process id, for the processes that it starts: it may be gone before they can look it up."""
LOOK_S = 1.0


def end_with_supervisor() -> None:
    """End this process as on SIGTERM once the supervisor is gone; in the supervisor itself, only note its process id.

    A supervisor that is killed cannot pass a signal on, and its processes would serve for ever.
    """
    if STARTED_BY_SUPERVISOR not in os.environ:
        os.environ[SUPERVISOR] = str(os.getpid())
        return
    parent = int(os.environ[SUPERVISOR])
    threading.Thread(target=_end_after, args=(parent,), name="supervisor-watch", daemon=True).start()


def _end_after(parent: int) -> None:
    """Wait until this process has a new parent, as orphans get, then end it."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def end_at_second_signal() -> None:
    """Have a second Ctrl-C or SIGTERM end the server without waiting; does nothing in the processes it starts.

    Circus only heeds the first signal, and would then wait for a day.
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
    """Send SIGINT to all processes, so that `processes.drain` stops waiting."""
    for watcher in arbiter.iter_watchers():
        for process in watcher.processes.values():
            process.send_signal(signal.SIGINT)
