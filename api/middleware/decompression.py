"""Compressed request bodies: gzip is unpacked piece by piece, any other encoding is refused."""

from __future__ import annotations

import zlib

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import InvalidRequest, UnknownEncoding
from core.interrupted import Interrupted

_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 31
"""zlib's `wbits` for gzip with the largest window."""
PIECE_BYTES = 2**20
"""Unpacked at a time, so that the upload limit stops a zip bomb early."""


class Unpacking:
    """ASGI middleware in front of the upload limit, which thus counts what is unpacked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        encoding = _encoding(scope)
        if not encoding or encoding == "identity":
            await self._app(scope, receive, send)
            return
        if encoding not in _GZIP:
            raise Interrupted(UnknownEncoding(f"Content-Encoding: {encoding[:40]!r} is unknown; gzip is understood"))
        await self._app(_unpacked(scope), _GzipBody(receive), send)


class _GzipBody:
    """A `receive` that unpacks another one's body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._packed = b""
        self._more = True
        self._ended = False
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)

    async def __call__(self) -> Message:
        while not self._ended:
            if not self._packed and self._more:
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._packed, self._more = message.get("body", b""), message.get("more_body", False)
            piece = self._piece()
            self._ended = not self._packed and not self._more and len(piece) < PIECE_BYTES
            if piece or self._ended:
                return {"type": "http.request", "body": piece, "more_body": not self._ended}
        return await self._receive()

    def _piece(self) -> bytes:
        try:
            piece = self._inflate.decompress(self._packed, PIECE_BYTES)
        except zlib.error as error:
            raise Interrupted(InvalidRequest("body", "is not gzip, though Content-Encoding says so")) from error
        self._packed = self._inflate.unconsumed_tail
        if self._inflate.eof and self._inflate.unused_data:
            # gzip files may be concatenated.
            self._packed, self._inflate = self._inflate.unused_data, zlib.decompressobj(_GZIP_WINDOW)
        elif not self._inflate.eof and not self._packed and not self._more and len(piece) < PIECE_BYTES:
            raise Interrupted(InvalidRequest("body", "ends in the middle of its gzip"))
        return piece


def _encoding(scope: Scope) -> str:
    if scope["type"] != "http":
        return ""
    return ",".join(Headers(scope=scope).getlist("content-encoding")).strip().lower()


def _unpacked(scope: Scope) -> Scope:
    """Return the scope without the headers that describe the packed body."""
    headers = [each for each in scope["headers"] if each[0] not in (b"content-encoding", b"content-length")]
    return {**scope, "headers": headers}
