"""What the gateway knows about a runner's work, to estimate which runner will finish a request first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.generation.events import Clip, Event, Failed, Loading, Picture, Queued
from core.generation.request import GenerationRequest

LATENT_PX = 8
LOAD_REQUESTS = 8.0
"""A runner without the model in memory counts as having this many more requests like the one in question."""
LORA_REQUESTS = 0.5
"""The same for each LoRA that the runner has not used lately."""
KEPT_LORAS = 16
TRY_AGAIN_S = 60.0
"""How long a runner that could not load the model, or a request's additions, gets no such requests if others can."""
MEASURED_S = 30.0
"""The speed is measured at least this often, even if the runner is never idle."""
FORGET = 0.9
"""The weight of earlier measurements, relative to the last one."""


def tokens_of(request: GenerationRequest) -> float:
    """Return the latent positions that a request passes through the denoiser; guidance is the same for all."""
    positions = sum(width * height * steps for (width, height), steps in request.passes) / LATENT_PX**2
    return float(request.num_images * request.num_frames * positions)


def additions_to(request: GenerationRequest) -> frozenset[str]:
    """Return what a request needs beside the model; a runner may lack it."""
    added = {f"lora {lora.name}" for lora in request.loras}
    if request.control_type is not None:
        added.add(f"controlnet {request.control_type}")
    if request.reference_image is not None:
        added.add("ip-adapter")
    return frozenset(added)


class RunnerLoad:
    """One runner's load; lives on one event loop."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.in_hand = 0.0
        """Tokens of the requests that the runner has."""
        self.in_memory: bool | None = None
        """Whether it had the model when last asked; None if never asked."""
        self._may_load_at_s = 0.0
        self._may_add_at_s: dict[frozenset[str], float] = {}
        """When to try again, by the additions that could not be loaded."""
        self._now_s = now_s
        self._generating = 0
        """Requests that have started; loading and queueing before that do not count towards the speed."""
        self._since_s = 0.0
        self._done = self._measured_tokens = self._measured_s = 0.0
        self._loras: OrderedDict[str, None] = OrderedDict()

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it generates; None until it has finished some work."""
        return self._measured_tokens / self._measured_s if self._measured_s else None

    def unable_to(self, request: GenerationRequest) -> bool:
        """Whether it has recently failed to load the model, or the request's additions."""
        return self._now_s() < max(self._may_load_at_s, self._may_add_at_s.get(additions_to(request), 0.0))

    def could_not_load(self) -> None:
        """Note that the model could not be loaded; after a while it may be tried again."""
        self.in_memory = False
        self._may_load_at_s = self._now_s() + TRY_AGAIN_S

    def could_not_add(self, request: GenerationRequest) -> None:
        """Note that the request's additions could not be loaded; after a while they may be tried again."""
        now_s = self._now_s()
        self._may_add_at_s = {added: at_s for added, at_s in self._may_add_at_s.items() if at_s > now_s}
        self._may_add_at_s[additions_to(request)] = now_s + TRY_AGAIN_S
        for lora in request.loras:
            self._loras.pop(lora.name, None)

    def finish_s(self, request: GenerationRequest, usual_per_s: float) -> float:
        """Estimate in how many seconds it would finish a request; `usual_per_s` is used while its speed is unknown."""
        unknown = sum(lora.name not in self._loras for lora in request.loras)
        requests = 1 + LORA_REQUESTS * unknown + (LOAD_REQUESTS if self.in_memory is False else 0)
        return (self.in_hand + requests * tokens_of(request)) / (self.tokens_per_s or usual_per_s)

    @contextmanager
    def doing(self, request: GenerationRequest) -> Iterator[Callable[[Event], None]]:
        """Count a request until the block ends; yields the function to call with its events."""
        left, share = tokens_of(request), tokens_of(request) / request.num_images
        started = False
        self.in_hand += left
        self._remember(request)

        def on_event(event: Event) -> None:
            nonlocal left, started
            if isinstance(event, Loading | Failed):
                return
            self.in_memory = True
            if not started and not isinstance(event, Queued):
                started = True
                self._begin_generating()
            if isinstance(event, Picture | Clip):
                left -= share
                self.in_hand -= share
                self._done += share
                if self._now_s() - self._since_s >= MEASURED_S:
                    self._measure()

        try:
            yield on_event
        finally:
            # Rounding of the shares could make this slightly negative.
            self.in_hand = max(0.0, self.in_hand - left)
            if started:
                self._end_generating()

    def _begin_generating(self) -> None:
        if not self._generating:
            self._since_s = self._now_s()
        self._generating += 1

    def _end_generating(self) -> None:
        self._generating -= 1
        if not self._generating:
            self._measure()

    def _measure(self) -> None:
        now_s = self._now_s()
        if self._done:
            self._measured_tokens = self._measured_tokens * FORGET + self._done
            self._measured_s = self._measured_s * FORGET + max(1e-6, now_s - self._since_s)
        self._done, self._since_s = 0.0, now_s

    def _remember(self, request: GenerationRequest) -> None:
        for lora in request.loras:
            self._loras[lora.name] = None
            self._loras.move_to_end(lora.name)
        while len(self._loras) > KEPT_LORAS:
            self._loras.popitem(last=False)
