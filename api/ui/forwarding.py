"""Passes requests on to the page's process, and its answers back, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from urllib.parse import quote

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, UnixConnector
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from yarl import URL

from api.http.docs_pages import shown_prefix
from core.errors import Busy

HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
OWN = {*HOP_BY_HOP, "cookie", "forwarded", "content-length", "accept-encoding"}
"""Headers that are not passed on: the key arrives in a header (`api.middleware.page_key`), not in the cookie."""
POLICY = "; ".join(
    (
        "default-src 'self'",
        # Gradio starts from an inline script, and compiles its listeners' code from text.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "connect-src 'self' data: blob:",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "object-src 'none'",
    )
)
"""Browsers block everything else: nothing comes from other servers."""
RETRY_S = 2


async def forwarded(request: Request, socket: str) -> Response:
    """Return the answer of the process that listens at `socket`. Raises Busy if it has just ended."""
    session = ClientSession(connector=UnixConnector(socket), timeout=ClientTimeout(total=None), auto_decompress=False)
    try:
        answer = await session.request(
            request.method,
            _address(request),
            headers=list(_passed_on(request)),
            data=_body(request) if request.method not in ("GET", "HEAD") else None,
            allow_redirects=False,
        )
    except (ClientError, OSError) as error:
        await session.close()
        raise Busy("the page has just been restarted: load it again", RETRY_S) from error
    except BaseException:
        await session.close()
        raise
    back = StreamingResponse(_pieces(session, answer), answer.status)
    back.raw_headers = [
        (name.lower(), value) for name, value in answer.raw_headers if name.lower().decode() not in HOP_BY_HOP
    ]
    if answer.content_type == "text/html":
        back.headers["Content-Security-Policy"] = POLICY
        back.headers["Referrer-Policy"] = "same-origin"
    back.headers["X-Content-Type-Options"] = "nosniff"
    return back


def _address(request: Request) -> URL:
    """Return the process's address for a request, without the proxy's prefix."""
    path = request.scope["path"].removeprefix(shown_prefix(request))
    return URL(f"http://ui{quote(path)}?{request.scope['query_string'].decode('latin-1')}", encoded=True)


def _passed_on(request: Request) -> Iterator[tuple[str, str]]:
    for name, value in request.headers.items():
        if name not in OWN and not name.startswith("x-forwarded-"):
            yield name, value
    yield "X-Forwarded-Prefix", shown_prefix(request)
    yield "X-Forwarded-Proto", request.url.scheme
    if request.client is not None:
        yield "X-Forwarded-For", request.client.host


async def _body(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in request.stream():
            yield piece
    except ClientDisconnect:
        return


async def _pieces(session: ClientSession, answer: ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield an answer's body as it comes; closing this closes the connection too."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()
        await session.close()
