"""Detects accelerators that no longer work in this process.

"This leaves the process in an inconsistent state and any further CUDA work will return the same error. To continue
using CUDA, the process must be terminated and relaunched." (CUDA Runtime API, cudaErrorIllegalAddress, and likewise of
failed assertions and launches.) So the process ends, and BentoML starts another.
"""

from __future__ import annotations

import logging
import os

import torch

log = logging.getLogger("jubako.engine")

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h."""


def is_lost(device: str | torch.device) -> bool:
    """Whether an accelerator no longer works. Waits for the device, so call it only after an error."""
    if torch.device(device).type == "cpu":
        return False
    try:
        torch.accelerator.synchronize(device)
    except RuntimeError:
        return True
    return False


def end_if_lost(device: str | torch.device) -> None:
    """End the process at once, whatever its threads are waiting for, if its accelerator is lost."""
    if is_lost(device):
        end_process("%s is lost after an error on it; this process ends, so that another one can start", device)


def end_process(why: str, *arguments: object) -> None:
    """End the process at once, whatever its threads are waiting for, with a line in the log."""
    log.critical(why, *arguments)
    logging.shutdown()
    os._exit(EXIT_STATUS)
