"""A small hub: folders of this machine as repositories, for the real client, by the few addresses that it asks for."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<kind>revision|tree)/(?P<revision>[^/]+))?")
FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass(frozen=True)
class Repository:
    folder: Path
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    """Its list of files is public, and the files are not."""


class SmallHub(ThreadingHTTPServer):
    """Its repositories, and what was fetched of them."""

    repositories: Mapping[str, Repository]
    fetched: list[str]
    held: str | None = None
    """A file that is sent once `may_go` is set."""
    may_go: threading.Event

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def small_hub(repositories: Mapping[str, Repository]) -> Iterator[SmallHub]:
    """Serve repositories until the block ends; yields the hub, whose address is for HF_ENDPOINT."""
    with SmallHub(("127.0.0.1", 0), _Answer) as hub:
        hub.repositories, hub.fetched = repositories, []
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        yield hub
        hub.shutdown()


class _Answer(BaseHTTPRequestHandler):
    server: SmallHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, file = API.fullmatch(path), FILE.fullmatch(path)
        found = api or file
        repository = self.server.repositories.get(found["repo"]) if found else None
        if found is None or repository is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif found["revision"] not in (None, "main", "v1", COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif api:
            self._send(200, json.dumps(_listing(repository, api["repo"], tree=api["kind"] == "tree")).encode())
        elif repository.gated:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        else:
            self._send_file(repository.folder / path.partition(f"/resolve/{found['revision']}/")[2])

    do_HEAD = do_GET  # noqa: N815  # the name that http.server looks for

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        first, last = 0, len(content) - 1
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(last, int(wanted[2] or last))
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        if self.command == "GET":
            if file.as_posix().endswith(f"/{self.server.held}"):
                self.server.may_go.wait(60)
            self.server.fetched.append(f"{file.name} {last + 1 - first}")
        self._send(206 if wanted else 200, content[first : last + 1], headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


def _listing(repository: Repository, repo: str, *, tree: bool) -> Any:
    files = {
        file.relative_to(repository.folder).as_posix(): file.stat().st_size
        for file in sorted(repository.folder.rglob("*"))
        if file.is_file()
    }
    if tree:
        return [
            {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}
            for name, size in files.items()
        ]
    return {
        "id": repo,
        "sha": COMMIT,
        "siblings": [{"rfilename": name, "size": size} for name, size in files.items()],
        "cardData": dict(repository.card),
        "gated": "manual" if repository.gated else False,
        "private": False,
    }
