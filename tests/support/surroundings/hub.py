"""A stand-in for the Hugging Face hub, at the outermost edge: HTTP answers as its own, to the real client."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REFUSALS: Mapping[str, tuple[int, str]] = {
    "gated": (403, "GatedRepo"),
    "gone": (404, "RepoNotFound"),
    "private": (401, "RepoNotFound"),
    "old": (404, "RevisionNotFound"),
    "strict": (401, ""),
    "busy": (503, ""),
}
"""By the repository's name: the status, and the `X-Error-Code` that the hub says it with."""
MESSAGES: Mapping[str, str] = {"strict": "Invalid credentials in Authorization header"}
"""By the repository's name: what the hub says instead of a code."""
FILE = bytes(10_000)
"""What every file of `someone/large` contains."""


class _Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "/someone/large/resolve/" in self.path:
            self._send_file()
        else:
            self._refuse()

    def _send_file(self) -> None:
        self.send_response(200)
        for name, value in (("ETag", '"abc"'), ("X-Repo-Commit", "0" * 40), ("Content-Length", str(len(FILE)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(FILE)

    def _refuse(self) -> None:
        name = next((name for name in REFUSALS if f"/someone/{name}" in self.path), "gone")
        status, code = REFUSALS[name]
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", MESSAGES.get(name, f"{name} by the hub"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def refusing_hub() -> Iterator[str]:
    """Serve refusals until the block ends; yields the address for HF_ENDPOINT."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{hub.server_port}"
        hub.shutdown()
