"""Detects cards that torch cannot use, for which it would silently compute on the CPU."""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from pathlib import Path

import torch

log = logging.getLogger("jubako.loading")

CARDS = Path("/dev")
"""The folder where each card has a file, such as nvidia0, also in a container that was given cards."""
DRIVER = Path("/proc/driver/nvidia/version")
DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""The oldest driver for each major version of CUDA.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""


def unused_card(wanted: str) -> str | None:
    """Return why torch, which sees no card, cannot use the machine's, and what to do; None if there is none.

    A torch without CUDA was installed on purpose, so with it `auto` uses the CPU, with a loud warning.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or not any(CARDS.glob("nvidia[0-9]*")):
        return None
    found = f"this machine has a GPU with {_driver()}"
    if torch.version.cuda is None:
        reason = f"{found}, and this torch ({torch.__version__}) is built without CUDA; install torch for CUDA"
        if wanted != "auto":
            return reason
        _say_once(f"{reason}, or set JUBAKO_DEVICE=cpu: until then models run on the CPU, a hundred times slower")
        return None
    oldest = DRIVERS.get(int(torch.version.cuda.partition(".")[0]), "one as new as that CUDA")
    return (
        f"{found}, and torch cannot use it: it is built for CUDA {torch.version.cuda}, which needs driver {oldest} "
        "or newer; update the driver, or set JUBAKO_DEVICE=cpu"
    )


@cache
def _say_once(text: str) -> None:
    log.critical("%s", text)


def _driver() -> str:
    try:
        version = re.search(r"\d+\.\d+(\.\d+)?", DRIVER.read_text())
    except OSError:
        return "no working NVIDIA driver"
    return f"NVIDIA driver {version[0]}" if version else "an NVIDIA driver of unknown version"
