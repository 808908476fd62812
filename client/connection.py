"""Where the server is, and the two ways to wait for it: `Jubako`, and `AsyncJubako` for asyncio."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from .calls import ApiCall, Body, FormBody
from .errors import Unreachable, refusal_of
from .files import FileSource

T = TypeVar("T")

URL, KEY = "JUBAKO_CLIENT_URL", "JUBAKO_CLIENT_KEY"
DEFAULT_URL = "http://127.0.0.1:3000"
TIMEOUT_S = 660.0
"""More than the server's own time limit for an image, so that its error arrives. Long videos take longer: use jobs."""


def client_options(url: str | None, key: str | None, timeout_s: float) -> dict[str, Any]:
    """Return an httpx client's options; a `url` or `key` of None comes from the environment."""
    key, address = key or os.environ.get(KEY), (url or os.environ.get(URL) or DEFAULT_URL).rstrip("/")
    return {
        "base_url": address,
        "auth": signing(address, key) if key else None,
        "timeout": httpx.Timeout(timeout_s, connect=10.0),
        "follow_redirects": True,
    }


def signing(address: str, key: str) -> Callable[[Any], Any]:
    """Return an auth function for httpx or httpx2 that adds the key, but only to requests to the server itself.

    Results may be in a bucket, which must not learn the key, and which refuses signed addresses with a key. In
    redirects, httpx itself drops the header as soon as the origin differs.
    """
    own = _origin(httpx.URL(address))

    def signed(request: Any) -> Any:
        if _origin(request.url) == own:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return signed


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


class Connection:
    def __init__(self, url: str | None, key: str | None, timeout_s: float) -> None:
        self._http = httpx.Client(**client_options(url, key, timeout_s))

    def send(self, call: ApiCall[T]) -> T:
        """Send a call and read its answer. Raises Refused and Unreachable."""
        with self._reaching(), sending(call.body) as said:
            answer = self._http.request(call.method, call.path, params=call.query or None, **said)
        if not answer.is_success:
            raise refusal_of(answer)
        return call.read(answer)

    @contextmanager
    def lines(
        self, method: str, path: str, body: Body | None = None, silence_s: float | None = None
    ) -> Iterator[Iterator[str]]:
        """Yield the lines of a stream while it is open; leaving the block closes it, which cancels a generation.

        A stream that is silent for `silence_s`, by default the client's time limit, counts as lost.
        """
        with (
            self._reaching(),
            sending(body) as said,
            self._http.stream(method, path, **said, **limited(silence_s)) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise refusal_of(answer)
            yield answer.iter_lines()

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error


class AsyncConnection:
    def __init__(self, url: str | None, key: str | None, timeout_s: float) -> None:
        self._http = httpx.AsyncClient(**client_options(url, key, timeout_s))

    async def send(self, call: ApiCall[T]) -> T:
        """Send a call and read its answer. Raises Refused and Unreachable."""
        try:
            with sending(call.body) as said:
                answer = await self._http.request(call.method, call.path, params=call.query or None, **said)
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error
        if not answer.is_success:
            raise refusal_of(answer)
        return call.read(answer)

    @asynccontextmanager
    async def lines(
        self, method: str, path: str, body: Body | None = None, silence_s: float | None = None
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Yield the lines of a stream while it is open, as `Connection.lines` does."""
        try:
            with sending(body) as said:
                async with self._http.stream(method, path, **said, **limited(silence_s)) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        raise refusal_of(answer)
                    yield answer.aiter_lines()
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from error

    async def close(self) -> None:
        await self._http.aclose()


@contextmanager
def sending(body: Body | None) -> Iterator[dict[str, Any]]:
    """Yield a body as arguments for httpx, with files opened, so that it reads them piece by piece."""
    if not isinstance(body, FormBody):
        yield {"json": body}
        return
    with ExitStack() as opened:
        files = [(name, _part(name, source, opened)) for name, source in body.files]
        yield {"data": {name: json.dumps(value) for name, value in body.fields.items()}, "files": files}


def _part(name: str, source: FileSource, opened: ExitStack) -> tuple[str, Any]:
    """Return a file's name, without which the server would take it for text, and its contents."""
    if isinstance(source, str | os.PathLike):
        return Path(source).name, opened.enter_context(Path(source).open("rb"))
    return name, source


def limited(silence_s: float | None) -> dict[str, Any]:
    """Return the options of a request that waits `silence_s` for each part of its answer."""
    return {} if silence_s is None else {"timeout": httpx.Timeout(silence_s, connect=10.0)}


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """Return the error of a lost connection, which names the server."""
    return Unreachable(f"{url} cannot be reached: {error or type(error).__name__}")
