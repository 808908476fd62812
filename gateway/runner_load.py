"""What the gateway knows of one runner's work, to tell which one will finish a request first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.generation.events import Clip, Event, Picture
from core.generation.request import GenerationRequest

LATENT_PX = 8
LOAD_REQUESTS = 8.0
"""A runner without the model in memory counts as one with so many more requests like this one."""
LORA_REQUESTS = 0.5
"""Likewise for each LoRA that it has not used lately."""
KEPT_LORAS = 16
TRY_AGAIN_S = 60.0
"""How long one that could not load the model gets no requests while others can."""
FORGET = 0.9
"""How much of what was measured before counts beside the last busy time."""


def tokens_of(request: GenerationRequest) -> float:
    """Return the latent positions that a request passes through the denoiser; guidance is the same for all."""
    pixels = request.width * request.height / LATENT_PX**2
    return float(request.num_images * request.num_frames * request.denoising_steps * pixels)


class RunnerLoad:
    """Of one runner; lives on one event loop."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.in_hand = 0.0
        """Tokens of the requests that it has."""
        self.in_memory: bool | None = None
        """Whether it has the model, when last asked; None: never asked."""
        self._may_load_at_s = 0.0
        self._now_s = now_s
        self._busy_since_s = 0.0
        self._done = self._done_in_busy_time = self._busy_s = 0.0
        self._loras: OrderedDict[str, None] = OrderedDict()

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it is when it has work; None before it has ended any."""
        return self._done_in_busy_time / self._busy_s if self._busy_s else None

    @property
    def unable(self) -> bool:
        """Whether it could not load the model just now."""
        return self._now_s() < self._may_load_at_s

    def could_not_load(self) -> None:
        """Remember that; after a while it may try again."""
        self.in_memory = False
        self._may_load_at_s = self._now_s() + TRY_AGAIN_S

    def finish_s(self, request: GenerationRequest, usual_per_s: float) -> float:
        """Estimate in how many seconds it would have done a request; `usual_per_s` is the speed of one unknown."""
        unknown = sum(lora.name not in self._loras for lora in request.loras)
        requests = 1 + LORA_REQUESTS * unknown + (LOAD_REQUESTS if self.in_memory is False else 0)
        return (self.in_hand + requests * tokens_of(request)) / (self.tokens_per_s or usual_per_s)

    @contextmanager
    def doing(self, request: GenerationRequest) -> Iterator[Callable[[Event], None]]:
        """Count a request until the block ends; yields what is to be told of its events."""
        left, share = tokens_of(request), tokens_of(request) / request.num_images
        if not self.in_hand:
            self._busy_since_s = self._now_s()
        self.in_hand += left
        self._remember(request)

        def on_event(event: Event) -> None:
            nonlocal left
            if isinstance(event, Picture | Clip):
                left -= share
                self.in_hand -= share
                self._done += share

        try:
            yield on_event
        finally:
            self.in_hand -= left
            self._end_busy_time()

    def _end_busy_time(self) -> None:
        if self.in_hand > 0.5:
            return
        self.in_hand = 0.0
        if self._done:
            self._done_in_busy_time = self._done_in_busy_time * FORGET + self._done
            self._busy_s = self._busy_s * FORGET + max(1e-6, self._now_s() - self._busy_since_s)
            self._done = 0.0

    def _remember(self, request: GenerationRequest) -> None:
        for lora in request.loras:
            self._loras[lora.name] = None
            self._loras.move_to_end(lora.name)
        while len(self._loras) > KEPT_LORAS:
            self._loras.popitem(last=False)
