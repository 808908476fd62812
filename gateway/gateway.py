"""Between HTTP contracts and runners: checks a draft, sends it to its model's runner, passes events on.

Every contract goes through here; none talks to a runner itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from bentoml import get_current_service

from api.http.refusals import error_of
from core import events
from core.draft import Draft
from core.errors import Cancelled, RunnerLost
from core.events import Event
from core.request import GenerationRequest
from gateway.residency import Residency
from gateway.safety.policy import Policy
from models.catalogue.catalogue import Catalogue, unknown_words
from models.catalogue.resolve import ServerLimits, resolve

NO_WAIT_S = 0.1
"""Up to here a deadline need not be told anew."""


class Runner(Protocol):
    """What the gateway needs of a model's runner; `gateway.runner_client` has one."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]: ...

    async def state(self) -> dict[str, Any]: ...

    async def load(self, device: str | None = None) -> dict[str, Any]: ...

    async def unload(self, force: bool = False) -> dict[str, Any]: ...


class Meter(Protocol):
    """What counts how much callers ask for; `access.rates` has one."""

    async def charge(self, request: GenerationRequest) -> None:
        """Count a request for the caller that is being served. Raises RateExceeded or InvalidRequest."""


@dataclass(frozen=True)
class Drawing:
    """An accepted request; its events can be read once."""

    request: GenerationRequest
    unknown_words: list[str]
    """Words of the prompt that the model never saw."""
    _runner: Runner
    _residency: Residency
    _policy: Policy

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield what happens, down to the last Result; closing the generator stops the drawing.

        Raises the JubakoError that ended the request otherwise.
        """
        results = 0
        accepted_at_s = time.monotonic()
        async with (
            self._residency.using(self.request.model, self.request.deadline_s),
            aclosing(self._runner.generate(self._within_deadline(accepted_at_s))) as happenings,
        ):
            async for event in happenings:
                if isinstance(event, events.Preview) and self._policy.hides_previews:
                    continue
                if isinstance(event, events.Result):
                    await self._policy.check_result(event)
                    results += 1
                yield _raised(event)
        if results < self.request.num_images:
            raise RunnerLost

    def _within_deadline(self, accepted_at_s: float) -> GenerationRequest:
        """The request, with what is left of its deadline if it had to wait for memory."""
        waited_s = time.monotonic() - accepted_at_s
        if self.request.deadline_s is None or waited_s < NO_WAIT_S:
            return self.request
        # Zero would mean that there is none.
        return self.request.model_copy(update={"deadline_s": max(0.001, round(self.request.deadline_s - waited_s, 3))})


@dataclass(frozen=True)
class Gateway:
    catalogue: Catalogue
    """The models that are served, and no others."""
    runners: Mapping[str, Runner]
    limits: ServerLimits
    residency: Residency
    meter: Meter
    policy: Policy
    managed: bool = True
    """Whether callers may load and unload models."""

    async def check(self, draft: Draft) -> GenerationRequest:
        """Complete and check a draft that is not to be drawn yet. Raises InvalidRequest or UnknownModel."""
        request = await asyncio.to_thread(resolve, draft, self.catalogue, self.limits)
        await self.policy.check_request(request)
        return request

    async def accept(self, draft: Draft) -> Drawing:
        """Check a draft, and count it. Raises InvalidRequest, UnknownModel or RateExceeded."""
        # Large images are resized on the way.
        request = await asyncio.to_thread(resolve, draft, self.catalogue, self.limits)
        await self.meter.charge(request)
        await self.policy.check_request(request)
        return self.drawing(request)

    def drawing(self, request: GenerationRequest) -> Drawing:
        """Return a request that was checked before, maybe by another process. Raises UnknownModel."""
        entry = self.catalogue.get(request.model)
        words = unknown_words(entry, request.prompt, [lora.name for lora in request.loras])
        return Drawing(request, words, self.runners[entry.id], self.residency, self.policy)


def current_gateway() -> Gateway:
    """Return the gateway of the service that this process runs."""
    service: Any = get_current_service()
    gateway: Gateway = service.gateway
    return gateway


def _raised(event: Event) -> Event:
    if isinstance(event, events.Failed):
        raise error_of(event)
    if isinstance(event, events.Cancelled):
        raise Cancelled("the request was cancelled")
    return event
