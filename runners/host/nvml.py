"""How busy and how warm NVIDIA's cards are, by NVML, the library of their driver that `nvidia-smi` asks too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import pynvml

log = logging.getLogger("jubako.cards")
T = TypeVar("T")


@dataclass(frozen=True)
class Reading:
    """None is what a card, or a machine without the library, does not say."""

    utilisation: float | None = None
    """The share of the last moments in which something ran, 0 to 1."""
    temperature_c: int | None = None


def reading(uuid: str) -> Reading:
    """Ask for a card by its UUID, which is the same whatever CUDA_VISIBLE_DEVICES says: `GPU-1b2c...`."""
    if not _started():
        return Reading()
    return Reading(
        _said(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(_card(uuid)).gpu) / 100),
        _said(lambda: int(pynvml.nvmlDeviceGetTemperatureV(_card(uuid), pynvml.NVML_TEMPERATURE_GPU))),
    )


@cache
def _started() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("cards do not say how busy and how warm they are: %s", error)
        return False
    return True


def _card(uuid: str) -> object:
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def _said(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except pynvml.NVMLError:
        # Parts of a card (MIG) do not say how busy they are.
        return None
