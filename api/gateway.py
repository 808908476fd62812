"""Between HTTP contracts and runners: checks a draft, sends it to its model's runner, passes events on.

Every contract goes through here; none talks to a runner itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from api.refusals import error_of
from errors import Cancelled, GenerationFailed
from models.catalogue import Catalogue, unknown_words
from models.draft import Draft
from models.request import GenerationRequest
from models.resolve import ServerLimits, resolve
from runners import events
from runners.events import Event


class Runner(Protocol):
    """What the gateway needs of a model's runner; `runners.client` has one."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]: ...

    async def state(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Drawing:
    """An accepted request; its events can be read once."""

    request: GenerationRequest
    unknown_words: list[str]
    """Words of the prompt that the model never saw."""
    _runner: Runner

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield what happens, down to the last Result; closing the generator stops the drawing.

        Raises the JubakoError that ended the request otherwise.
        """
        results = 0
        async with aclosing(self._runner.generate(self.request)) as happenings:
            async for event in happenings:
                results += isinstance(event, events.Result)
                yield _raised(event)
        if results < self.request.num_images:
            raise GenerationFailed("the model stopped before the picture was done")


@dataclass(frozen=True)
class Gateway:
    catalogue: Catalogue
    """The models that are served, and no others."""
    runners: Mapping[str, Runner]
    limits: ServerLimits

    async def accept(self, draft: Draft) -> Drawing:
        """Check a draft. Raises InvalidRequest or UnknownModel."""
        # Large images are resized on the way.
        request = await asyncio.to_thread(resolve, draft, self.catalogue, self.limits)
        words = unknown_words(self.catalogue.get(request.model), request.prompt)
        return Drawing(request, words, self.runners[request.model])


def _raised(event: Event) -> Event:
    if isinstance(event, events.Failed):
        raise error_of(event)
    if isinstance(event, events.Cancelled):
        raise Cancelled("the request was cancelled")
    return event
