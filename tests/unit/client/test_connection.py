"""The Python client's connection: who gets the key, how long a wait lasts, and what a refusal says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from client import AsyncJubako, Jubako, Refused, Unreachable
from client.errors import retry_after_s_of
from client.results import Job

KEY = "sesame"
JOB: dict[str, Any] = {
    "session_id": "1",
    "status": "completed",
    "progress": 100,
    "message": "",
    "model": "tiny",
    "task": "text-to-image",
    "error": None,
    "hint": None,
    "results": [],
    "created_at": "2026-01-01T00:00:00Z",
}
Answer = tuple[int, dict[str, str], bytes]


class Host:
    """A local HTTP server that answers as it was made to, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["authorization"]))
                status, headers, body = answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def told(fields: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(fields).encode()


Hosts = Callable[[Callable[[str], Answer]], Host]


@pytest.fixture
def host() -> Iterator[Hosts]:
    started: list[Host] = []

    def start(answer: Callable[[str], Answer]) -> Host:
        started.append(Host(answer))
        return started[-1]

    yield start
    for each in started:
        each.close()


def finished(url: str) -> Job:
    return Job.of({**JOB, "results": [{"url": url, "media_type": "image/png", "seed": 7}]})


class TestTheKey:
    """It is the server's own; results may lie in a bucket of somebody else's."""

    SIGNED = "/fox.png?X-Amz-Signature=0"

    @pytest.mark.parametrize("redirected", [False, True])
    async def test_a_bucket_does_not_get_it(self, host: Hosts, redirected: bool) -> None:
        bucket = host(lambda _: (200, {}, b"fox"))
        server = host(lambda _: (302, {"Location": bucket.url + self.SIGNED}, b""))
        job = finished("/files/fox.png?token=1" if redirected else bucket.url + self.SIGNED)
        with Jubako(server.url, KEY) as jubako:
            assert [each.data for each in jubako.results(job)] == [b"fox"]
        async with AsyncJubako(server.url, KEY) as patient:
            assert [each.data for each in await patient.results(job)] == [b"fox"]
        assert bucket.asked == [(self.SIGNED, None)] * 2
        assert server.asked == [("/files/fox.png?token=1", f"Bearer {KEY}")] * 2 * redirected

    def test_the_server_gets_it_at_its_absolute_address_too(self, host: Hosts) -> None:
        server = host(lambda _: (200, {}, b"fox"))
        with Jubako(server.url, KEY) as jubako:
            jubako.results(finished(f"{server.url}/files/fox.png?token=1"))
        assert server.asked == [("/files/fox.png?token=1", f"Bearer {KEY}")]


AWAY: Answer = (503, {"Content-Type": "text/html"}, b"<h1>away</h1>")
RUNNING, DONE = told({**JOB, "status": "processing"}), told(JOB)
CUT: Answer = (
    200,
    {"Content-Type": "text/event-stream"},
    b'event: processing\ndata: {"progress": 10, "message": ""}\n\n',
)
WAITED = Job.of({**JOB, "status": "processing"})


def restarting(streams: list[Answer], statuses: list[Answer]) -> Callable[[str], Answer]:
    """Return the answers of a server: those to who wants a job's events, and those to who asks its status."""

    def answer(path: str) -> Answer:
        left = streams if path.endswith("/events") else statuses
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


class TestWaiting:
    @pytest.fixture(autouse=True)
    def _hurried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("client.waiting.FIRST_PAUSE_S", 0.001)
        monkeypatch.setattr("client.waiting.LONGEST_PAUSE_S", 0.002)

    @pytest.mark.parametrize(
        ("streams", "statuses"),
        [
            ([CUT, AWAY, CUT], [AWAY, RUNNING, DONE]),
            ([(404, {}, b"no streams here")], [RUNNING, RUNNING, RUNNING, DONE]),
            ([CUT], [(429, {"Retry-After": "0"}, b"{}"), (502, {}, b""), DONE]),
        ],
        ids=["restarted", "polled", "limited"],
    )
    async def test_a_server_that_goes_away_loses_nothing(
        self, host: Hosts, streams: list[Answer], statuses: list[Answer]
    ) -> None:
        with Jubako(host(restarting([*streams], [*statuses])).url) as jubako:
            assert jubako.wait(WAITED) == []
        async with AsyncJubako(host(restarting([*streams], [*statuses])).url) as patient:
            assert await patient.wait(WAITED) == []

    async def test_what_does_not_pass_is_raised(self, host: Hosts) -> None:
        gone = host(restarting([CUT], [(404, {}, b'{"error": "no such job"}')]))
        with Jubako(gone.url) as jubako, pytest.raises(Refused, match="no such job"):
            jubako.wait(WAITED)
        async with AsyncJubako(gone.url) as patient:
            with pytest.raises(Refused, match="no such job"):
                await patient.wait(WAITED)

    def test_patience_ends(self, host: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("client.waiting.PATIENCE_S", 0.05)
        server = host(lambda _: AWAY)
        server.close()
        with Jubako(server.url) as jubako, pytest.raises(Unreachable):
            jubako.wait(WAITED)

    def test_the_callers_own_errors_are_not_swallowed(self, host: Hosts) -> None:
        def fail(_: object) -> None:
            raise Refused("my own")

        with Jubako(host(restarting([CUT], [RUNNING])).url) as jubako, pytest.raises(Refused, match="my own"):
            jubako.wait(WAITED, on_event=fail)


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("header", "seconds"),
        [(None, None), ("7", 7.0), ("soon", None), ("-1", None), ("nan", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)],
    )
    def test_numbers_and_dates(self, header: str | None, seconds: float | None) -> None:
        assert retry_after_s_of(header) == seconds

    def test_a_date_to_come(self) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
        assert retry_after_s_of(date) == pytest.approx(60, abs=5)

    def test_a_proxys_refusal_is_one(self, host: Hosts) -> None:
        busy = host(lambda _: (503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b"busy"))
        with Jubako(busy.url) as jubako, pytest.raises(Refused, match="busy") as caught:
            jubako.models()
        assert caught.value.retry_after_s == 0
