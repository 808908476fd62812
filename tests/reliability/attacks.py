"""Requests that nobody should send; each returns how the server took it, in a word or two."""

from __future__ import annotations

import json
import random
import socket
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.support.servers.replica import Replica
from tests.support.servers.serving import photo, png
from tests.support.web import WEB

RUNNER_KEY = "a key for the runner alone"
ANSWER_S = 60.0
TOO_LATE = "no answer in a minute"
EXPECTED_ERRORS = (503, 504)
"""Too much at once, and a deadline: what to do is said."""
PATHS = (
    "/text_to_image",
    "/stream",
    "/v1/images/generations",
    "/api/tiny/t2i",
    "/api/batch",
    "/pipeline/run",
    "/generate",
)
UPLOADS = (("/image_to_image", "image"), ("/v1/images/edits", "image"), ("/api/tiny/i2i", "image"))
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1.5,
        2**63,
        2**64,
        10**30,
        float("inf"),
        float("nan"),
        "",
        " ",
        "a",
        "\x00",
        "\ud800",
        "💥" * 40,
    ),
    *([], {}, [[]], {"a": {"a": {}}}, "../../etc/passwd", "http://169.254.169.254/", "a" * 10_000, [1] * 1000),
)
FIELDS = (
    *("prompt", "negative_prompt", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed", "n"),
    *("num_images", "scheduler", "loras", "priority", "deadline_s", "size", "quality", "response_format", "requests"),
    *("webhook_url", "output_format", "num_frames", "image", "mask", "task", "preview_every", "stream", "colour"),
)


def is_fault(answer: str) -> bool:
    """Whether this is no way to answer, whatever was sent."""
    last = answer.rpartition(": ")[2]
    return last == TOO_LATE or (last.isdigit() and int(last) >= 500 and int(last) not in EXPECTED_ERRORS)


def raw_bytes(server: Replica, chance: random.Random) -> str:
    """Send what is no HTTP, or is so only in parts, and read what comes until the connection ends."""
    lines = [
        b"GET / HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET nowhere HTTP/1.1",
        b"POST /text_to_image HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET /%00%ff%2e%2e/ HTTP/1.1",
        b"GET /" + b"a" * chance.choice([10, 3000, 70_000]) + b" HTTP/1.1",
        bytes(chance.randrange(256) for _ in range(chance.randrange(200))),
    ]
    headers = [
        b"Host: localhost",
        b"Content-Length: -1",
        b"Content-Length: 10",
        b"Transfer-Encoding: chunked",
        b"Content-Type: application/json",
        b"Content-Type: multipart/form-data",
        b"Authorization: Bearer " + b"k" * 5000,
        b"X-\xff: \xfe",
        b"Expect: 100-continue",
        b"Connection: close",
    ]
    head = b"\r\n".join([chance.choice(lines), *chance.sample(headers, chance.randrange(len(headers)))])
    body = chance.choice([b"", b"{", b"zz\r\n", b"5\r\nhello\r\n0\r\n\r\n", bytes(20)])
    with socket.create_connection((server.host, server.port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(head + b"\r\n\r\n" + body)
            # What waits for more of a request learns that there is none.
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            return TOO_LATE
        except OSError:
            return "closed"
    return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/") else "closed"


def strange_json(server: Replica, chance: random.Random) -> str:
    """Send fields of the contracts with values of no sense."""
    fields = {name: chance.choice(STRANGE) for name in chance.sample(FIELDS, chance.randrange(1, 6))}
    if chance.random() < 0.7:
        fields = {"prompt": "a", "num_inference_steps": 1, **fields}
    body = json.dumps(fields)
    if chance.random() < 0.1:
        body = body[: chance.randrange(len(body))]
    headers = {"Content-Type": chance.choice(["application/json", "application/json", "text/plain", ""])}
    return _sent(server, chance.choice(PATHS), content=body.encode(), headers=headers)


def strange_multipart(server: Replica, chance: random.Random) -> str:
    """Send forms whose parts are cut, nested, nameless, many or repeated."""
    boundary = chance.choice([b"x", b"--", b"a" * 200])
    part = b"--" + boundary + b"\r\nContent-Disposition: form-data; "
    names = [b'name="prompt"', b'name="image"; filename="a.png"', b"", b'name=""', b'name="\xff"', b"name=prompt"]
    parts = [part + chance.choice(names) + b"\r\n\r\n" + _data(chance) + b"\r\n" for _ in range(chance.randrange(8))]
    if chance.random() < 0.1:
        parts *= 300
    body = b"".join(parts) + chance.choice([b"--" + boundary + b"--\r\n", b"", b"--"])
    kind = b"multipart/form-data" + chance.choice([b"; boundary=" + boundary, b"", b"; boundary="])
    return _sent(server, chance.choice(UPLOADS)[0], content=body, headers={"Content-Type": kind.decode()})


def damaged_image(server: Replica, chance: random.Random) -> str:
    """Upload images of which bytes are changed or missing."""
    data = bytearray(png(photo()))
    for _ in range(chance.randrange(20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    upload = bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
    path, field = chance.choice(UPLOADS)
    form = {"prompt": "a", "num_inference_steps": "1"}
    return _sent(server, path, data=form, files={field: ("a.png", upload, "image/png")})


def strange_frames(server: Replica, chance: random.Random) -> str:
    """Open a WebSocket and send what is no request."""
    address = f"{server.url.replace('http', 'ws')}/v1/images/stream"
    frames: list[str | bytes] = [
        "{",
        "[]",
        "null",
        '{"prompt": 1}',
        "\x00",
        b"\xff\xfe",
        "",
        "a" * 100_000,
        '{"prompt":"a","size":"1x1"}',
    ]
    try:
        with connect(address, open_timeout=ANSWER_S, max_size=None) as socket_:
            socket_.send(chance.choice(frames))
            try:
                said = json.loads(socket_.recv(timeout=ANSWER_S))
            except TimeoutError:
                return TOO_LATE
            return str(said.get("type", "answered"))
    except (WebSocketException, OSError):
        return "closed"


def runner_frame(runner: Replica, chance: random.Random) -> str:
    """Send a runner, with its key, what is no frame of its wire."""
    body = chance.choice([b"", b"\x00" * 60, chance.randbytes(60), b"\xff" * 8 + b"{}", b'{"a": 1}' * 50])
    path = chance.choice(["/generate", "/state", "/load", "/unload"])
    kind = chance.choice(["application/octet-stream", "application/json", "application/vnd.bentoml+pickle"])
    headers = {"Authorization": f"Bearer {RUNNER_KEY}", "Content-Type": kind}
    return _sent(runner, path, content=body, headers=headers)


def _sent(server: Replica, path: str, **request: Any) -> str:
    try:
        return str(WEB.post(f"{server.url}{path}", timeout=ANSWER_S, **request).status_code)
    except httpx.TimeoutException:
        return TOO_LATE
    except httpx.TransportError:
        return "closed"


def _data(chance: random.Random) -> bytes:
    return chance.choice([b"a", b"", png(photo()), chance.randbytes(50), b"\r\n--x\r\n", b"\xed\xa0\x80"])
