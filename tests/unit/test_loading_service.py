"""What cannot be loaded now is asked for again; what cannot be loaded at all is not, for a while."""

from __future__ import annotations

import json
from collections.abc import Awaitable

import pytest

from core.errors import JubakoError, LoadFailed, LoadInterrupted
from processes.loading_service import LoadingService, Messages, answer_to_load

MESSAGES = Messages(away="away", not_loaded="the model cannot be loaded")


class AnsweringService(LoadingService):
    """One whose process ends every attempt to load with the next of these errors, or without one."""

    def __init__(self, *ends: JubakoError | None) -> None:
        super().__init__("http://nowhere", "nobody", MESSAGES)
        self.ends = list(ends)

    async def ask(self, api: str, body: bytes, headers: object, timeout_s: float) -> bytes:  # as the hop's
        return json.dumps(await answer_to_load(self._load_once())).encode()

    def _load_once(self) -> Awaitable[None]:
        return ended(self.ends.pop(0))


async def ended(error: JubakoError | None) -> None:
    if error is not None:
        raise error


async def test_an_interrupted_load_may_succeed_the_next_time() -> None:
    service = AnsweringService(LoadInterrupted("the hub cannot be reached"), None)
    with pytest.raises(LoadInterrupted, match="the model cannot be loaded: the hub cannot be reached") as caught:
        await service.load("model")
    assert caught.value.retry_after_s
    await service.load("model")
    assert service.ends == []


async def test_what_is_refused_is_not_tried_again_at_once() -> None:
    service = AnsweringService(LoadFailed("there is no file"), None)
    for _ in range(2):
        with pytest.raises(LoadFailed, match="the model cannot be loaded: there is no file"):
            await service.load("model")
    assert service.ends == [None]
