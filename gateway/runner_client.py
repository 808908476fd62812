"""The gateway's end of the hop to a runner service.

BentoML's own proxy is made for short calls: when a stream is closed early it leaves the connection open, so the runner
goes on generating; it limits concurrency to 100 calls, so the runner never sees how many wait; and after every 100
calls it closes all connections, including those of running streams.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http.client import INTERNAL_SERVER_ERROR, SERVICE_UNAVAILABLE, UNAUTHORIZED
from typing import Any

import aiohttp
from pydantic import ValidationError

from core.errors import RESTART_S, Busy, DeadlineExceeded, GenerationFailed, InvalidRequest, RunnerLost
from core.generation.events import Event
from core.generation.request import GenerationRequest
from gateway.media.reading.uploads import in_image_thread, with_pixels
from processes.gateway_watch import DEPENDENCY
from processes.service_session import CONNECT_TIMEOUT_S, open_session
from runners.state import ModelState, RunnerState
from runners.wire import encode_request, read_events

log = logging.getLogger("jubako")

STATE_TIMEOUT_S = 2.0
"""A status request should not wait for a runner that restarts."""
DEADLINE_MARGIN_S = 5.0
"""Runners end a request at its deadline; only a runner that hangs exceeds it by this much."""
UNLOAD_MARGIN_S = 60.0
AWAY = (SERVICE_UNAVAILABLE, UNAUTHORIZED)
"""Statuses of a runner that is stopping, and of one with a different key: another runner, or a retry, may help."""
_FRAME = {"Content-Type": "application/octet-stream"}


class RunnerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, model: str, url: str, key: str | None = None, service: str | None = None) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket; `key` is the runner's
        JUBAKO_RUNNER_KEY, and `service` the name of its BentoML service.
        """
        self._model = model
        self._url = url
        self._key = key
        self._service = service or f"{DEPENDENCY}{model}"
        self._opened: aiohttp.ClientSession | None = None
        self._broken = False
        self._seen = False

    @property
    def broken(self) -> bool:
        """Whether the connection to the runner broke or failed, and it has not answered since."""
        return self._broken

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate a request and yield its events; closing the generator cancels it.

        Raises Busy when the runner cannot be reached, RunnerLost when it breaks off, GenerationFailed when it refuses
        the request, and DeadlineExceeded when it hangs.
        """
        if self._broken:
            await self._check()
        limit_s = None if request.deadline_s is None else request.deadline_s + DEADLINE_MARGIN_S
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            async with (
                self._session.post(
                    # No variable holds the frame, so it is freed once sent and not kept while the runner queues it.
                    "/generate",
                    data=await _frame_of(request),
                    headers=_FRAME,
                    timeout=timeout,
                    raise_for_status=True,
                ) as response,
                aclosing(read_events(response.content.iter_any())) as events,
            ):
                async for event in events:
                    yield event
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._restarting() from error
        except aiohttp.ClientResponseError as error:
            if error.status != SERVICE_UNAVAILABLE:
                log.warning("the runner of %s at %s answers %d", self._model, self._url, error.status)
            if error.status in AWAY:
                raise self._restarting() from error
            if error.status < INTERNAL_SERVER_ERROR:
                # A retry would be refused too.
                raise GenerationFailed(f"the runner of {self._model} refuses the request") from error
            raise RunnerLost from error
        except TimeoutError as error:
            self._broken = True
            raise DeadlineExceeded(f"{self._model} did not answer within the request's deadline") from error
        except (aiohttp.ClientError, EOFError) as error:
            self._broken = True
            raise RunnerLost from error

    async def state(self) -> RunnerState:
        """Return the state that the runner reports; `starting` or `restarting` while it does not answer."""
        try:
            state = RunnerState.model_validate(await self._ask("state", {}, STATE_TIMEOUT_S))
        # ValidationError: a runner of another release, with states that this one does not know.
        except (TimeoutError, aiohttp.ClientError, ValidationError):
            return RunnerState(model=self._model, state=ModelState.RESTARTING if self._seen else ModelState.STARTING)
        self._broken, self._seen = False, True
        return state

    async def load(self, device: str | None = None) -> RunnerState:
        """Start loading the model, or moving it to a device; return its state.

        Raises InvalidRequest for a device that does not exist, and Busy when the runner cannot be reached.
        """
        try:
            state = await self._ask("load", {"device": device}, STATE_TIMEOUT_S)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise self._restarting() from error
        if "refused" in state:
            raise InvalidRequest("device", state["refused"])
        return RunnerState.model_validate(state)

    async def unload(
        self,
        force: bool = False,
        device: str | None = None,  # noqa: ARG002  # it is the only one
        within_s: float = UNLOAD_MARGIN_S,
    ) -> RunnerState:
        """Free the model once its running requests are done, which `force` cancels; return its state.

        Raises Busy when that takes longer than `within_s`, or the runner cannot be reached.
        """
        try:
            return RunnerState.model_validate(await self._ask("unload", {"force": force}, within_s))
        except TimeoutError as error:
            raise Busy(f"{self._model} is still generating, and will be unloaded after that", RESTART_S) from error
        except aiohttp.ClientError as error:
            raise self._restarting() from error

    async def _ask(self, api: str, arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(timeout_s)
        async with self._session.post(f"/{api}", json=arguments, timeout=timeout, raise_for_status=True) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def _check(self) -> None:
        """Raise Busy while a runner that broke off does not answer.

        Connecting proves nothing: its socket belongs to the process that restarts it, and stays open.
        """
        await self.state()
        if self._broken:
            raise self._restarting()

    def _restarting(self) -> Busy:
        self._broken = True
        return Busy(f"the process of {self._model} is being restarted; try again later", RESTART_S)

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = open_session(self._url, self._service, self._key)
        return self._opened


async def _frame_of(request: GenerationRequest) -> bytes:
    with_images = await with_pixels(request)
    if not request.named_videos:
        return encode_request(with_images)
    # In a thread: tens of megabytes, partly on disk.
    return await in_image_thread(encode_request, with_images)
