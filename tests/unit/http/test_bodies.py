"""Bodies of requests as clients write them: forms, base64 in all its shapes, and gzip."""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from api.contracts import CONTRACTS
from api.http.requests.base64_text import decoded_base64
from api.http.requests.parsing import read_fields
from api.middleware.decompression import PIECE_BYTES, Unpacking
from api.middleware.upload_limit import UploadLimit
from api.openai.forms import EditForm, GenerationForm
from api.openai.reading import form_for
from core.errors import InvalidRequest, TooLarge, UnknownEncoding
from core.interrupted import Interrupted

BOUNDARY = "a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
DATA = b"\x89PNG\xff\xfe\xfb\xef" * 20 + b"!"
"""With pluses and slashes in base64, and padding."""
TEXT = base64.b64encode(DATA).decode()


def form(*parts: tuple[str, bytes | str]) -> bytes:
    """Write a form; a part is what follows `name=` in its header, and its content."""
    shown = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + (content.encode() if isinstance(content, str) else content)
        + b"\r\n"
        for name, content in parts
    )
    return b"".join(shown) + f"--{BOUNDARY}--\r\n".encode()


def file(name: str) -> str:
    return f'{name}"; filename="a.png'


async def read(body: bytes, media_type: str, files: Iterable[str] = ("image", "images")) -> dict[str, Any]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", media_type.encode())]}
    request = Request(scope, receive)
    try:
        return await read_fields(request, list(files))
    finally:
        await request.close()


def in_lines(text: str, end: str) -> str:
    return end.join(text[at : at + 76] for at in range(0, len(text), 76))


SHAPES = {
    "plain": TEXT,
    "lines": in_lines(TEXT, "\r\n"),
    "unix lines": in_lines(TEXT, "\n") + "\n",
    "unpadded": TEXT.rstrip("="),
    "url-safe": base64.urlsafe_b64encode(DATA).decode(),
    "url-safe, unpadded": base64.urlsafe_b64encode(DATA).decode().rstrip("="),
    "data URL": f"data:image/png;base64,{TEXT}",
    "data URL with a name": f"DATA:image/png;name=a.png;base64,{in_lines(TEXT, chr(10))}",
    "escaped data URL": f"data:image/png;base64,{TEXT.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
    "pluses lost in a form": TEXT.replace("+", " "),
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
class TestBase64:
    async def test_in_json(self, text: str) -> None:
        assert await read(json.dumps({"image": text}).encode(), "application/json") == {"image": [DATA]}

    async def test_in_a_form(self, text: str) -> None:
        assert await read(form(("image", text)), FORM) == {"image": [DATA]}


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1/a.png", "photo.png", "a", "data:image/png;base64,!", "ä", "é" * 8 + "☂"]
)
def test_what_is_no_base64_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decoded_base64(text)


async def test_urls_and_names_are_still_refused_as_what_they_are() -> None:
    for text in ("http://127.0.0.1/a.png", "photo.png", "☂"):
        with pytest.raises(InvalidRequest, match="image: must be an uploaded file or base64 text; addresses"):
            await read(form(("image", text)), FORM)


class TestForms:
    async def test_base64_may_be_as_long_as_a_body(self) -> None:
        data = random.Random(0).randbytes(2 * 2**20)
        text = base64.b64encode(data).decode()
        assert (await read(form(("image", text)), FORM))["image"] == [data]
        quoted = f"image={text}".replace("+", "%2B").encode()
        assert (await read(quoted, "application/x-www-form-urlencoded"))["image"] == [data]

    async def test_a_file_without_a_name_is_one(self) -> None:
        assert (await read(form(("image", DATA)), FORM))["image"] == [DATA]

    @pytest.mark.parametrize(
        "names",
        [
            ("images", "images", "images"),
            ("images[]", "images[]", "images[]"),
            ("images[0]", "images[1]", "images[2]"),
            ("images", "images[]", "images[7]"),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("as_files", [True, False], ids=["files", "base64"])
    async def test_several_files_of_a_field_keep_their_order(self, names: tuple[str, ...], as_files: bool) -> None:
        contents = [b"first", b"second", b"third"]
        if as_files:
            parts = [(file(name), content) for name, content in zip(names, contents, strict=True)]
        else:
            parts = [(name, base64.b64encode(content)) for name, content in zip(names, contents, strict=True)]
        assert await read(form(*parts), FORM) == {"images": contents}

    async def test_numbers_say_the_order(self) -> None:
        numbered = [(file(f"images[{number}]"), str(number)) for number in (10, 0, 2)]
        assert await read(form(*numbered), FORM) == {"images": [b"0", b"2", b"10"]}

    async def test_other_fields_may_have_brackets(self) -> None:
        assert await read(form(("loras[]", "sketch")), FORM) == {"loras[]": "sketch"}

    async def test_an_empty_field_beside_a_file_is_none(self) -> None:
        assert await read(form(("image", ""), (file("image"), "a")), FORM) == {"image": [b"a"]}

    async def test_of_repeated_text_the_last_counts(self) -> None:
        assert await read(form(("prompt", "one"), ("prompt", "two")), FORM) == {"prompt": "two"}

    @pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images"])
    def test_images_make_a_request_without_an_address_an_edit(self, name: str) -> None:
        assert form_for({name: TEXT}) is EditForm
        assert form_for({"prompt": TEXT}) is GenerationForm


async def unpacked(packed: bytes, encoding: str, max_bytes: int = 2**24, chunk_bytes: int = 1000) -> bytes:
    """Return what an application behind both middlewares receives; the body comes in chunks."""
    chunks = [packed[at : at + chunk_bytes] for at in range(0, len(packed), chunk_bytes)] or [b""]
    received: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        assert "content-encoding" not in request.headers
        assert "content-length" not in request.headers
        stream: AsyncIterator[bytes] = request.stream()
        async for piece in stream:
            assert len(piece) <= PIECE_BYTES
            received.append(piece)

    async def send(_: Message) -> None:
        raise AssertionError("nothing is answered")

    headers = [(b"content-encoding", encoding.encode()), (b"content-length", str(len(packed)).encode())]
    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await Unpacking(UploadLimit(app, max_bytes, max_bytes, CONTRACTS, lambda _: False))(scope, receive, send)
    return b"".join(received)


class TestGzip:
    @pytest.mark.parametrize("size", [0, 1, 5000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
    @pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
    async def test_a_body_is_unpacked(self, size: int, encoding: str) -> None:
        for data in (bytes(size), random.Random(size).randbytes(size)):
            assert await unpacked(gzip.compress(data), encoding) == data

    async def test_several_files_in_one_are_one(self) -> None:
        assert await unpacked(gzip.compress(b"one") + gzip.compress(b"two"), "gzip") == b"onetwo"

    async def test_a_bomb_ends_at_the_limit(self) -> None:
        with pytest.raises(Interrupted) as ended:
            await unpacked(gzip.compress(bytes(2**27)), "gzip", max_bytes=2**20)
        assert isinstance(ended.value.error, TooLarge)

    @pytest.mark.parametrize(
        ("body", "says"),
        [
            (b"no gzip", "is not gzip"),
            (gzip.compress(b"a" * 5000)[:20], "in the middle"),
            (gzip.compress(random.Random(1).randbytes(5000))[:-4], "in the middle"),
            (gzip.compress(b"abc")[:-8] + bytes(8), "is not gzip"),
            (zlib.compress(b"abc"), "is not gzip"),
            (b"", "in the middle"),
        ],
        # The files have the time in which they were made, and names of tests must not.
        ids=["text", "a half", "no end", "wrong sum", "zlib", "nothing"],
    )
    async def test_a_broken_one_is_refused(self, body: bytes, says: str) -> None:
        with pytest.raises(Interrupted) as ended:
            await unpacked(body, "gzip")
        assert isinstance(ended.value.error, InvalidRequest)
        assert says in ended.value.error.message

    @pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, br", "gzip, gzip"])
    async def test_other_encodings_are_refused_as_what_they_are(self, encoding: str) -> None:
        with pytest.raises(Interrupted) as ended:
            await unpacked(b"abc", encoding)
        assert isinstance(ended.value.error, UnknownEncoding)
        assert "gzip is understood" in ended.value.error.message
