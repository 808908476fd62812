"""The context of every stage: the device, the size of the models, and where figures go."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

Module = TypeVar("Module", bound=torch.nn.Module)
GIB = 2**30


@dataclass(frozen=True)
class Setup:
    """With `full`, models have their real sizes, on a GPU; otherwise they are tiny, to try out the check on a CPU."""

    full: bool
    device: torch.device
    emit: Callable[..., None]
    """Writes one figure, which is named by the keyword `what`."""

    @classmethod
    def here(cls, full: bool, emit: Callable[..., None]) -> Setup:
        return cls(full, torch.device("cuda" if torch.cuda.is_available() else "cpu"), emit)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def half(self) -> torch.dtype:
        return torch.float16 if self.on_gpu else torch.float32

    @property
    def bfloat(self) -> torch.dtype:
        return torch.bfloat16 if self.on_gpu else torch.float32

    def px(self, size_px: int) -> int:
        """Return the width and height of images, which are small with tiny models."""
        return size_px if self.full else 64

    def crowd(self, requests: int) -> int:
        """Return how many requests to make at once: few with tiny models."""
        return requests if self.full else min(requests, 3)

    def steps(self, steps: int) -> int:
        """Return how many steps to take: few with tiny models."""
        return steps if self.full else min(steps, 2)

    def built(self, make: Callable[[], Module], dtype: torch.dtype) -> Module:
        """Return a module with random weights that were made on the device."""
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                module = make()
        finally:
            torch.set_default_dtype(default)
        return module.eval().requires_grad_(False)

    def synchronise(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def peak_gib(self) -> float | None:
        """Return the peak memory since the last call; None on a CPU."""
        if not self.on_gpu:
            return None
        peak = torch.cuda.max_memory_allocated() / GIB
        torch.cuda.reset_peak_memory_stats()
        return peak

    def held_gib(self) -> float:
        return torch.cuda.memory_allocated() / GIB if self.on_gpu else 0.0

    def forget(self) -> None:
        """Free unused memory, and reset the peak."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
        self.peak_gib()
