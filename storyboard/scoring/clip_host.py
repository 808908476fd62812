"""CLIPs in this process; neither they nor torch are loaded before they are first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from models.catalogue.sources import Source
from storyboard.scoring.pairs import ImageTextPair, ScoringRequest

if TYPE_CHECKING:
    from storyboard.scoring.clip_model import ClipScoringModel


class ClipHost:
    """Loads and computes in a thread of its own, one call after the other; keeps what it has loaded."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._clips: dict[Source, ClipScoringModel] = {}
        self._thread = ThreadPoolExecutor(1, "clip", initializer=_compute_on_one_core)

    async def load(self, source: Source) -> None:
        """Load a CLIP, unless it is loaded. Raises LoadFailed with what to do, or InvalidRequest for the device."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clip, source)

    async def compare(self, source: Source, pair: ImageTextPair) -> float:
        """Return the cosine of a pair, -1 to 1. Raises as `load` does."""
        return (await self.cosines([(source, pair)]))[0]

    async def cosines(self, asked: Sequence[ScoringRequest]) -> list[float]:
        """Return the cosine of each pair, -1 to 1, computing those of one CLIP together. Raises as `load` does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._cosines, asked)

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _cosines(self, asked: Sequence[ScoringRequest]) -> list[float]:
        cosines: dict[int, float] = {}
        for source in dict.fromkeys(source for source, _ in asked):
            places = [place for place, (wanted, _) in enumerate(asked) if wanted == source]
            found = self._clip(source).cosines([asked[place][1] for place in places])
            cosines |= zip(places, found, strict=True)
        return [cosines[place] for place in range(len(asked))]

    def _clip(self, source: Source) -> ClipScoringModel:
        if source not in self._clips:
            from storyboard.scoring.clip_model import ClipScoringModel

            self._clips[source] = ClipScoringModel.load(source, self._device)
        return self._clips[source]


def _compute_on_one_core() -> None:
    """Use one thread: frames are scored while others are generated, and two pools would contend for the cores."""
    import torch

    torch.set_num_threads(1)
