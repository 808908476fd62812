"""The HTTP client for one server: sends a request, checks that the response is a PNG, and measures the time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from benchmarks.workloads import WorkloadRequest, mask_png, photo_png
from core.generation.request import Task

REQUEST_TIMEOUT_S = 240.0
KEEP_ALIVE_S = 2.0
"""Less than uvicorn's 5 s, so that no request uses a connection that is about to be closed."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Sample:
    """One completed request; the times are those of `time.perf_counter`."""

    wanted: WorkloadRequest
    sent_s: float
    answered_s: float
    error: str | None = None

    @property
    def latency_s(self) -> float:
        return self.answered_s - self.sent_s


class Client:
    """`size` is the width and height of input images. A server with `one_path` takes requests of all tasks on that
    path.
    """

    def __init__(self, address: str, size: tuple[int, int], one_path: str | None = None) -> None:
        self._address = address
        self._size = size
        self._one_path = one_path
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self, path: str) -> int:
        timeout = aiohttp.ClientTimeout(total=5)
        async with self._session.get(self._address + path, timeout=timeout) as answer:
            return answer.status

    async def text(self, path: str) -> str:
        """Return a path's body."""
        async with self._session.get(self._address + path) as answer:
            return await answer.text()

    async def post(self, path: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a path's JSON response. Raises RuntimeError for any status other than 200."""
        async with self._session.post(self._address + path, json=fields) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status}: {(await answer.text())[:500]}")
            body: dict[str, Any] = await answer.json()
            return body

    async def draw(self, wanted: WorkloadRequest) -> Sample:
        """Request an image; errors are recorded in the sample."""
        sent_s = time.perf_counter()
        try:
            error = await self._post(wanted)
        except (TimeoutError, aiohttp.ClientError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        return Sample(wanted, sent_s, time.perf_counter(), error)

    async def _post(self, wanted: WorkloadRequest) -> str | None:
        path = self._one_path or wanted.path
        async with self._session.post(self._address + path, **self._body(wanted)) as answer:
            body = await answer.read()
            if answer.status != 200:
                return f"{answer.status}: {body[:200]!r}"
            return None if body.startswith(PNG_SIGNATURE) else "no PNG came back"

    def _body(self, wanted: WorkloadRequest) -> dict[str, Any]:
        fields = wanted.fields | ({"task": str(wanted.task)} if self._one_path else {})
        if wanted.task is Task.TEXT_TO_IMAGE:
            return {"json": fields}
        form = aiohttp.FormData({name: str(value) for name, value in fields.items()})
        form.add_field("image", photo_png(*self._size), filename="image.png", content_type="image/png")
        if wanted.task is Task.INPAINT:
            form.add_field("mask", mask_png(*self._size), filename="mask.png", content_type="image/png")
        return {"data": form}
