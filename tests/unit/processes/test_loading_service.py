"""What cannot be loaded is asked for again, but not at once."""

from __future__ import annotations

import json
from collections.abc import Awaitable

import pytest

from core.errors import JubakoError, LoadFailed, LoadInterrupted
from processes import loading_service
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


@pytest.mark.parametrize("error", [LoadFailed("there is no file"), LoadInterrupted("the hub cannot be reached")])
async def test_what_cannot_be_loaded_is_tried_again_after_a_while(
    error: JubakoError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by each of those that waited for the same: the last of them would wait for all attempts."""
    service = AnsweringService(error, None)
    for _ in range(2):
        with pytest.raises(type(error), match=f"the model cannot be loaded: {error.message}") as caught:
            await service.load("model")
        assert isinstance(caught.value, LoadFailed) or caught.value.retry_after_s
    assert service.ends == [None]
    monkeypatch.setattr(loading_service, "RETRY_S", 0)
    await service.load("model")
    assert service.ends == []
