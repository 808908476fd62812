"""Data on NVIDIA's cards from NVML, the driver's library that `nvidia-smi` uses too.

It needs no context on a card, which would take card memory in every process that asks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

import pynvml

log = logging.getLogger("jubako.cards")
T = TypeVar("T")


@dataclass(frozen=True)
class CardReading:
    """A value is None if the card does not report it, or the library is missing."""

    utilisation: float | None = None
    """The share of recent time in which something ran, 0 to 1."""
    temperature_c: int | None = None
    used_gib: float | None = None
    """Memory used by all processes together."""


@dataclass(frozen=True)
class CardMemory:
    uuid: str
    total_gib: float
    free_gib: float


def reading(uuid: str) -> CardReading:
    """Read a card, given its UUID, such as `GPU-1b2c...`, which does not depend on CUDA_VISIBLE_DEVICES."""
    if not _started():
        return CardReading()
    return CardReading(
        _said(lambda: float(pynvml.nvmlDeviceGetUtilizationRates(_card(uuid)).gpu) / 100),
        _said(lambda: int(pynvml.nvmlDeviceGetTemperatureV(_card(uuid), pynvml.NVML_TEMPERATURE_GPU))),
        _said(lambda: _used_gib(pynvml.nvmlDeviceGetMemoryInfo(_card(uuid)))),
    )


def _used_gib(memory: Any) -> float:
    return float(memory.total - memory.free) / 2**30


def card_memories() -> list[CardMemory]:
    """Return the memory of all cards, in NVML's order.

    Empty if one is divided (MIG), since CUDA counts the parts instead.
    """
    if not _started():
        return []
    numbers = range(pynvml.nvmlDeviceGetCount())
    return (
        []
        if any(map(_divided, numbers))
        else [_said(partial(_memory_of, number)) or _lost(number) for number in numbers]
    )


def _memory_of(number: int) -> CardMemory:
    card = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    return CardMemory(pynvml.nvmlDeviceGetUUID(card), memory.total / 2**30, memory.free / 2**30)


def _lost(number: int) -> CardMemory:
    log.warning("card %d does not answer: it is taken for one without memory", number)
    return CardMemory("", 0.0, 0.0)


def _divided(number: int) -> bool:
    # Most cards do not support MIG, and answer with an error.
    return bool(_said(lambda: pynvml.nvmlDeviceGetMigMode(pynvml.nvmlDeviceGetHandleByIndex(number))[0]))


@cache
def _started() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.info("nothing is known of NVIDIA's cards: %s", error)
        return False
    return True


def _card(uuid: str) -> object:
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def _said(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except pynvml.NVMLError:
        # Parts of a card (MIG) do not report how busy they are; a failed card reports nothing.
        return None
