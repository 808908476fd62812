"""The caller's key on the page `/ui`: asked for once, then kept by the browser in a cookie that no script can read.

Browsers cannot be made to send a header when they load a page, so below `/ui`, and nowhere else, the cookie stands for
it. The cookie is `SameSite=Strict`, so that no other site can use it.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import parse_qs, quote, unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from access.bearer import bearer_key
from access.keys import Keyring
from api.http.contract_table import ContractTable
from api.http.docs_pages import shown_prefix
from api.pages.html import page

FOLDER = "/ui"
SIGN_IN, SIGN_OUT = f"{FOLDER}/sign-in", f"{FOLDER}/sign-out"
COOKIE = "jubako_key"
KEPT_S = 400 * 24 * 3600
"""The longest that browsers keep a cookie."""
MAX_FORM_BYTES = 4096


class PageKey:
    """ASGI middleware in front of the door: turns the cookie into a key, or asks for one."""

    def __init__(self, app: ASGIApp, keyring: Keyring, contracts: ContractTable) -> None:
        self._app = app
        self._keyring = keyring
        self._is_there = contracts.owns(FOLDER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not self._is_there or not (path == FOLDER or path.startswith(f"{FOLDER}/")):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer: ASGIApp
        if path == SIGN_IN:
            answer = await _signed_in(request) if request.method == "POST" else sign_in_page(request)
        elif path == SIGN_OUT:
            answer = _signed_out(request) if request.method == "POST" else _only_posted()
        else:
            answer = self._asked_for_key(request) or self._opened(request)
        await answer(scope, receive, send)

    def _asked_for_key(self, request: Request) -> Response | None:
        """Return the sign-in form if a person opens the page without the key it needs."""
        key = _key(request)
        is_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if not self._keyring.closed or not is_page or (key and self._keyring.owner(key)):
            return None
        return sign_in_page(request, "This key is wrong, or no longer valid." if key else "")

    def _opened(self, request: Request) -> ASGIApp:
        """Return the application, with the key put into the header that programs use."""
        key = _key(request)
        if key and not bearer_key(request.scope):
            headers = [each for each in request.scope["headers"] if each[0] != b"authorization"]
            request.scope["headers"] = [*headers, (b"authorization", f"Bearer {key}".encode("latin-1", "replace"))]
        return self._app


def sign_in_page(request: Request, problem: str = "") -> Response:
    """Return the form that asks for the key."""
    answer = page("sign_in", prefix=shown_prefix(request), problem=problem)
    # Without its origin, the form's POST would be refused as another site's.
    answer.headers["Referrer-Policy"] = "same-origin"
    if problem:
        answer.status_code = HTTPStatus.UNAUTHORIZED
    return answer


async def _signed_in(request: Request) -> Response:
    """Store the key, right or wrong; the page that follows says if it is wrong."""
    form = b""
    async for piece in request.stream():
        form += piece
        if len(form) > MAX_FORM_BYTES:
            return sign_in_page(request, "This is too long for a key.")
    key = parse_qs(form.decode("ascii", "replace")).get("key", [""])[0].strip()
    if not key:
        return sign_in_page(request, "Enter a key.")
    answer = _back(request)
    secure = request.url.scheme == "https"
    path = _cookie_path(request)
    answer.set_cookie(
        COOKIE, quote(key, safe=""), max_age=KEPT_S, path=path, secure=secure, httponly=True, samesite="strict"
    )
    return answer


def _signed_out(request: Request) -> Response:
    answer = _back(request)
    answer.delete_cookie(COOKIE, path=_cookie_path(request))
    return answer


def _only_posted() -> Response:
    """Refuse GET: a link or an image on another site must not sign anybody out."""
    status = HTTPStatus.METHOD_NOT_ALLOWED
    return PlainTextResponse("POST signs out", status, headers={"Allow": "POST"})


def _key(request: Request) -> str:
    """Return the key from the header, or else from the cookie."""
    return bearer_key(request.scope) or unquote(request.cookies.get(COOKIE, ""))


def _back(request: Request) -> Response:
    return RedirectResponse(f"{_cookie_path(request)}/", HTTPStatus.SEE_OTHER)


def _cookie_path(request: Request) -> str:
    return f"{shown_prefix(request)}{FOLDER}"
