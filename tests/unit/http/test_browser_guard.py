"""The middleware that refuses pages of other sites, and what allowed pages may read of its answers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from access.keys import Keyring
from access.rates import RateLimiter
from api.contracts import CONTRACTS
from api.middleware.sites import EXPOSED_HEADERS
from api.middleware.stack import middleware_stack
from core.caller import Caller, Rates
from core.errors import Busy
from processes.http.guard import MAX_TARGET_BYTES
from settings import Settings
from settings.sections.access import AccessOptions

ROOT = Path(__file__).parents[3]
KEY = "jbk_alice-0123456789abcdef"
PAGE = "https://app.example"
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "DELETE",
    "Access-Control-Request-Headers": "content-type,authorization,x-own",
    "Access-Control-Request-Private-Network": "true",
}


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _busy(request: Request) -> PlainTextResponse:
    answer = CONTRACTS.refusal_for(request.url.path, Busy("too many requests", 7))
    return PlainTextResponse(answer.body, answer.status_code, dict(answer.headers))


async def _broken(request: Request) -> PlainTextResponse:
    raise RuntimeError(request.url.path)


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


def client(key: str | None = None, **settings: object) -> TestClient:
    """The middlewares as a server has them, around an application of two routes and a socket."""
    methods = ["GET", "POST", "DELETE"]
    routes = [
        Route("/text_to_image", _echo, methods=methods),
        Route("/busy", _busy),
        Route("/broken", _broken),
        WebSocketRoute("/socket", _socket),
    ]
    app = Starlette(routes=routes)
    access = AccessOptions(api_keys={"alice": key} if key else {}, rate_requests_per_min=2)
    keyring = Keyring.of(access)
    chosen = Settings(max_upload_bytes=1024, **settings)  # type: ignore[arg-type]
    for middleware, options in reversed([*middleware_stack(chosen, keyring, RateLimiter(None), CONTRACTS)]):
        app.add_middleware(middleware, **options)
    return TestClient(app, base_url="http://127.0.0.1:3000")


class TestTheGuard:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_refuses_writes_of_other_sites_in_the_contracts_shape(self, method: str) -> None:
        answer = client().request(method, "/text_to_image", headers=EVIL)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        openai = client().request(method, "/v1/images/generations", headers=EVIL)
        assert openai.json()["error"]["code"] == "forbidden"

    def test_refuses_sockets_of_other_sites(self) -> None:
        with pytest.raises(WebSocketDenialResponse) as caught, client().websocket_connect("/socket", headers=EVIL):
            pass
        assert caught.value.status_code == 403
        for headers in ({}, {"Origin": "http://testserver"}):
            with client().websocket_connect("/socket", headers=headers):
                pass

    def test_refuses_even_reading_by_a_strangers_name(self) -> None:
        for method in ("GET", "POST"):
            answer = client().request(method, "/text_to_image", headers={"Host": "rebound.evil.example"})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")

    def test_lets_other_sites_read_what_any_program_may_but_shows_their_scripts_nothing(self) -> None:
        answer = client().get("/text_to_image", headers=EVIL)
        assert answer.status_code == 200
        assert not any(name.startswith("access-control-") for name in answer.headers)


class TestCors:
    @pytest.mark.parametrize("allowed", [PAGE, f"http://other.example,{PAGE}", "*"])
    @pytest.mark.parametrize("path", ["/text_to_image", "/v1/images/generations", "/nowhere"])
    def test_preflights_are_answered_without_a_key(self, allowed: str, path: str) -> None:
        answer = client(KEY, cors_origins=allowed).options(path, headers=PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == ("*" if allowed == "*" else PAGE)
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "content-type,authorization,x-own"
        assert answer.headers["access-control-allow-private-network"] == "true"

    def test_no_other_page_is_allowed(self) -> None:
        server = client(cors_origins=PAGE)
        headers = PREFLIGHT | {"Origin": "https://evil.example"}
        for answer in (
            server.options("/text_to_image", headers=headers),
            server.post("/text_to_image", headers=EVIL),
            client().options("/text_to_image", headers=PREFLIGHT),
        ):
            assert answer.is_client_error
            assert "access-control-allow-origin" not in answer.headers

    def test_answers_and_refusals_can_be_read(self) -> None:
        server, headers = client(KEY, cors_origins=PAGE), {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
        known = headers | {"Authorization": f"Bearer {KEY}"}
        answers = [
            server.post("/text_to_image", headers=headers),
            server.post("/text_to_image", headers=known),
            server.post("/text_to_image", headers=known, content=bytes(2000)),
            server.post("/text_to_image", headers=known),
            server.get("/busy", headers=known),
            server.get("/nowhere", headers=known),
            server.get("/broken", headers=known),
            server.get("/" + "a" * MAX_TARGET_BYTES, headers=known),
        ]
        assert [answer.status_code for answer in answers] == [401, 200, 413, 429, 503, 404, 500, 414]
        for answer in answers:
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert "retry-after" in answer.headers["access-control-expose-headers"].lower()

    async def test_scripts_can_read_all_headers_that_this_server_adds(self) -> None:
        sources = [
            path.read_text()
            for room in ("api", "storyboard", "gateway")
            for path in (ROOT / room).rglob("*.py")
            # Its other names that begin so are no headers, or come with requests.
            if path.parent.name != "openapi_description" and path != ROOT / "api/hugging_face/reading.py"
        ]
        answered = re.compile(r'"(x-(?!content|forwarded|gzip)[a-z-]+)"', re.IGNORECASE)
        own = {name for source in sources for name in answered.findall(source)}
        rates = await RateLimiter(None).headers(
            Caller("", rates=Rates(requests_per_min=1, megapixels_per_min=1, steps_per_min=1))
        )
        assert "X-Jubako-Seed" in own
        exposed = {name.lower() for name in EXPOSED_HEADERS}
        assert {name.lower() for name in (*own, *rates)} <= exposed
