"""Copies from the device that run while it works on: nothing waits until the values are needed."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch


class DeviceCopy:
    """A tensor on its way to the host."""

    def __init__(self, tensor: torch.Tensor, *, timed: bool = False) -> None:
        """With `timed`, `copy_seconds` returns how long the device took to copy it."""
        watch = Stopwatch(tensor.device) if timed else None
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            # A copy waits for the device unless it goes into pinned memory.
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor = host.copy_(tensor, non_blocking=True)
            self._arrived = recorded_event(tensor.device)
        else:
            self._tensor = tensor
        if watch is not None:
            watch.stop()
        self._watch = watch

    @property
    def copy_seconds(self) -> float:
        """Seconds that the copy took; waits for it."""
        return 0.0 if self._watch is None else self._watch.seconds

    def read(self) -> torch.Tensor:
        """Wait for the tensor, on any thread."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor.cpu()


class Stopwatch:
    """Times what the device does from construction to `stop`, by the device's own clock if it has one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun = self._ended = self._now()

    def stop(self) -> None:
        self._ended = self._now()

    @property
    def seconds(self) -> float:
        """Seconds from construction to `stop`; waits for the device."""
        if isinstance(self._ended, float):
            return self._ended - float(self._begun)
        self._ended.synchronize()
        return float(self._begun.elapsed_time(self._ended)) / 1000

    def seconds_since(self, earlier: Stopwatch) -> float:
        """Return the seconds from the end of an earlier one to the beginning of this one; waits for the device."""
        if isinstance(self._begun, float):
            return self._begun - float(earlier._ended)
        self._begun.synchronize()
        return float(earlier._ended.elapsed_time(self._begun)) / 1000

    def _now(self) -> Any:
        """Return a time in seconds, or an event of the device."""
        return recorded_event(self._device, timed=True) if self._device.type == "cuda" else perf_counter()


def recorded_event(device: torch.device, *, timed: bool = False) -> torch.cuda.Event:
    """Record an event that completes when a card has done everything queued so far."""
    event = torch.cuda.Event(enable_timing=timed)
    # By default it would be recorded on the current device, which need not be the model's.
    event.record(torch.cuda.current_stream(device))
    return event
