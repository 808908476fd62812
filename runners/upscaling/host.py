"""The upscaling model in this process; neither the model nor torch is loaded before it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from processes.machine.core_turns import CoreTurns
from runners.upscaling.wire import AskedTile

if TYPE_CHECKING:
    from models.weights.upscaling import UpscalingModel


class UpscalerHost:
    """Loads and computes in a thread of its own, one pass after the other."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._model: UpscalingModel | None = None
        self._cores: CoreTurns | None = None
        self._thread = ThreadPoolExecutor(1, "upscaler")

    async def load(self) -> None:
        """Load the model if it is not there. Raises LoadFailed with what to do, or LoadInterrupted."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)

    async def upscaled(self, asked: Sequence[AskedTile]) -> list[bytes]:
        """Return each tile's upscaled RGB pixels; tiles of one size and factor share a pass. Raises as `load` does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._upscaled, asked)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _upscaled(self, asked: Sequence[AskedTile]) -> list[bytes]:
        pixels: dict[int, bytes] = {}
        for kind in dict.fromkeys((tile.image.size, tile.factor) for tile in asked):
            places = [place for place, tile in enumerate(asked) if (tile.image.size, tile.factor) == kind]
            pixels |= zip(places, self._pass([asked[place] for place in places]), strict=True)
        return [pixels[place] for place in range(len(asked))]

    def _pass(self, asked: Sequence[AskedTile]) -> list[bytes]:
        import torch

        model = self._loaded()
        try:
            with self._turn():
                return [image.tobytes() for image in model.upscaled([tile.image for tile in asked], asked[0].factor)]
        except torch.OutOfMemoryError:
            if len(asked) == 1:
                raise
        return [pixels for tile in asked for pixels in self._pass([tile])]

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._cores is None else self._cores.turn()

    def _loaded(self) -> UpscalingModel:
        if self._model is None:
            from models.weights.devices import resolve_device
            from models.weights.upscaling import configured_upscaler

            device = resolve_device(self._device)
            self._model = configured_upscaler(device)
            # On a CPU, generating models use the same cores; without a file to lock, both only slow each other down.
            with suppress(OSError):
                self._cores = CoreTurns() if device == "cpu" else None
        return self._model
