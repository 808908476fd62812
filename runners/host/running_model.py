"""A loaded model, and everything that generates with it until it is unloaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing

from core.generation.events import Download, Event
from core.generation.request import GenerationRequest, Method
from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel
from models.weights.prompts import PromptLimits
from processes.threads import in_thread
from runners.engine.engine import Engine, EngineLimits
from runners.engine.observer import EngineObserver
from runners.host.preparations import Preparations, WaitingPlaces
from runners.token_opt.request_queue import TokenOptQueue


class RunningModel:
    """Lives on one event loop; its engine has a thread of its own, which `close` ends."""

    def __init__(
        self,
        entry: Entry,
        model: LoadedModel,
        limits: EngineLimits,
        observer: EngineObserver | None,
        places: WaitingPlaces,
        helpers: ExitStack,
    ) -> None:
        """`helpers` ends the other processes that compute the model."""
        self.model = model
        self.engine = Engine(model, limits, observer)
        self._helpers = helpers
        self._prompts = PromptLimits(model)
        self._preparations = Preparations(self.engine.prepare, places)
        self._token_opt = TokenOptQueue(model, entry.token_opt, limits.max_queue) if entry.token_opt else None

    async def submit(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Event, None]:
        """Yield the progress of loading what the request needs, and then its events; closing the generator cancels it.

        Raises Busy, LoadFailed, OutOfMemory, DeadlineExceeded, or Cancelled if the model is unloaded meanwhile.
        """
        reading = await in_thread(lambda: self._prompts.read(request))
        if request.method is Method.TOKEN_OPT:
            assert self._token_opt is not None, "requests are checked against the catalogue"
            events = self._token_opt.events(request, accepted_at_s, reading)
        else:
            async with aclosing(self._preparations.wait(request, accepted_at_s)) as waiting:
                async for loading in waiting:
                    yield loading
            events = self.engine.submit(request, accepted_at_s, reading).events()
        async with aclosing(events):
            async for event in events:
                yield event

    @property
    def download(self) -> Download | None:
        """The progress of downloading something that a request needs in addition to the model."""
        return self._preparations.download

    async def close(self) -> None:
        """Cancel everything that is unfinished; return once nothing is computing any more."""
        self._preparations.cancel()
        if self._token_opt is not None:
            await self._token_opt.close()
        await in_thread(self.engine.close)
        await in_thread(self._helpers.close)
