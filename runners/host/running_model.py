"""A model that is ready: all that draws with it, from the first request to the end of the last."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.errors import JubakoError
from core.events import Event, Failed
from core.request import GenerationRequest, Method
from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel
from processes.threads import in_thread
from runners.engine.engine import Engine, EngineLimits
from runners.engine.observer import EngineObserver
from runners.host.preparations import Places, Preparations
from runners.token_opt.request_queue import TokenOptQueue


class RunningModel:
    """Lives on one event loop; its engine has a thread of its own, which `close` ends."""

    def __init__(
        self, entry: Entry, model: LoadedModel, limits: EngineLimits, observer: EngineObserver | None, places: Places
    ) -> None:
        self.model = model
        self.engine = Engine(model, limits, observer)
        self._preparations = Preparations(self.engine.prepare, places)
        self._optimiser = TokenOptQueue(model, entry.token_opt, limits.max_queue) if entry.token_opt else None

    async def events(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request; closing the generator cancels it."""
        if request.method is Method.TOKEN_OPT:
            assert self._optimiser is not None, "requests are checked against the catalogue"
            source = self._optimiser.events(request, accepted_at_s)
        else:
            source = self._drawn(request, accepted_at_s)
        async with aclosing(source) as happenings:
            async for event in happenings:
                yield event

    async def _drawn(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Event, None]:
        try:
            await self._preparations.wait(request, accepted_at_s)
            ticket = self.engine.submit(request, accepted_at_s)
        except JubakoError as error:
            yield Failed.of(error)
            return
        async with aclosing(ticket.events()) as happenings:
            async for event in happenings:
                yield event

    async def close(self) -> None:
        """Cancel whatever is unfinished, and end when nothing computes any more."""
        self._preparations.cancel()
        if self._optimiser is not None:
            await self._optimiser.close()
        await in_thread(self.engine.close)
