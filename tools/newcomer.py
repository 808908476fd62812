"""`python -m tools.newcomer` does what the README's first lines say, in an empty folder, and times it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.support.browser import browsing
from tests.support.servers.serving import ROOT, free_port, wait_for
from tests.support.web import WEB

STARTED_S = 1800.0
"""Downloads included."""
EXAMPLE = "a fox on a green background"


class Watch:
    def __init__(self) -> None:
        self._begun_s = time.monotonic()

    def lap(self, what: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._begun_s:6.1f} s  {what}\n")
        sys.stdout.flush()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # None of the developer's own settings.
        own = ("JUBAKO_", "DIFFUSER_", "OMP_", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        watch = Watch()
        subprocess.run(["git", "clone", "--quiet", ROOT, "jubako"], cwd=folder, env=environment, check=True)
        watch.lap("cloned")
        with _make_serve(Path(folder, "jubako"), environment, watch) as url:
            _draw(url, watch)


@contextmanager
def _make_serve(folder: Path, environment: Mapping[str, str], watch: Watch) -> Iterator[str]:
    """Run it until the block ends; yields the address once it answers."""
    port, log = free_port(), folder / "log"
    with log.open("wb") as output:
        command = ["make", "serve", f"PORT={port}"]
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _until(server, log, (folder / ".venv/.ui").exists)
        watch.lap("installed")
        _until(server, log, lambda: _answers(f"http://localhost:{port}/livez"))
        watch.lap("the server answers")
        yield f"http://localhost:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _until(server: subprocess.Popen[bytes], log: Path, condition: Callable[[], bool]) -> None:
    def held() -> bool:
        assert server.poll() is None, log.read_text()[-5000:]
        return condition()

    wait_for(held, STARTED_S)


def _answers(url: str) -> bool:
    try:
        return WEB.get(url).status_code == 200
    except httpx.TransportError:
        return False


def _draw(url: str, watch: Watch) -> None:
    with browsing(url) as browsed:
        page = browsed.page
        page.goto(f"{url}/ui")
        page.get_by_role("button", name=EXAMPLE).click()
        watch.lap("the page is open, and an example is clicked")
        expect(page.locator("#create-images img").first).to_be_visible()
        watch.lap("the first image")


if __name__ == "__main__":
    main()
