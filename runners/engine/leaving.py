"""What leaves the device while it goes on working: nothing waits until the values are needed."""

from __future__ import annotations

from time import perf_counter

import torch


class Leaving:
    """A tensor on its way to the host."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            # Only a copy into pinned memory does not wait for the device.
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor = host.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(tensor.device))
        else:
            self._tensor = tensor

    def read(self) -> torch.Tensor:
        """Wait for it, on any thread."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensor.cpu()


class Stopwatch:
    """Times what the device does between its making and `stop`, by the device's own clock where it has one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
        self._times_s: list[float] = []
        self._mark()

    def stop(self) -> None:
        self._mark()

    @property
    def seconds(self) -> float:
        """What it took; waits for the device."""
        if not self._events:
            return self._times_s[1] - self._times_s[0]
        begin, end = self._events
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    def _mark(self) -> None:
        if self._events:
            self._events[len(self._times_s)].record(torch.cuda.current_stream(self._device))
        self._times_s.append(perf_counter())
