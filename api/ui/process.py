"""The process of the page: started when somebody first opens it, ended with the gateway."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

from api.ui.own_folder import OwnFolder
from core.errors import LoadFailed
from processes.drain import ENDING_S
from settings import settings

log = logging.getLogger("jubako")

ROOT = Path(__file__).parents[2]
PACKAGES = Path(sys.prefix) / "jubako-ui"
"""Gradio and its dependencies, kept apart from our own packages: it needs an older Pillow (`constraints-ui.txt`)."""
START_S = 180.0
_ASKED_AGAIN_S = 0.05
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""The environment variables that the process needs. It must not get keys or other settings."""
_GRADIO = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "GRADIO_MCP_SERVER": "False"}
"""Keeps Gradio from contacting other servers."""


class UiProcess:
    """Runs at most one process at a time; if it has ended by itself, the next request starts it again."""

    def __init__(self) -> None:
        self._starting: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._folder: OwnFolder | None = None

    @property
    def is_ready(self) -> bool:
        return self._starting is None and self._process is not None and self._process.returncode is None

    def start(self, server: str) -> asyncio.Task[None]:
        """Start it, unless it is already starting; `server` is the address of our API."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(server))
        return self._starting

    async def socket(self, server: str) -> str:
        """Return the path of the socket on which it listens. Raises LoadFailed if it does not start."""
        if not self.is_ready:
            starting = self.start(server)
            try:
                await asyncio.shield(starting)
            finally:
                if starting.done() and self._starting is starting:
                    self._starting = None
        return str(self._listening_at)

    async def close(self) -> None:
        """End the process and remove its files."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), ENDING_S)
            except TimeoutError:
                process.kill()
        folder, self._folder = self._folder, None
        if folder is not None:
            await asyncio.to_thread(folder.remove)

    @property
    def _listening_at(self) -> Path:
        assert self._folder is not None
        return self._folder.path / "socket"

    async def _start(self, server: str) -> None:
        if not PACKAGES.is_dir():
            raise LoadFailed("the page's packages are not installed: `make serve` does that (docs/page.md)")
        await self._end()
        self._folder = await asyncio.to_thread(OwnFolder)
        passed_on = {name: value for name, value in os.environ.items() if name in _PASSED_ON}
        # Gradio serves files from its temporary and current folders, so both hold only the page's own.
        own = {
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PACKAGES))),
            "PYTHONSAFEPATH": "1",
            "GRADIO_TEMP_DIR": str(self._folder.path / "files"),
            "TMPDIR": str(self._folder.path),
            **_GRADIO,
        }
        options = {
            "--socket": self._listening_at,
            "--server": server,
            "--largest-file": settings().max_lora_bytes,
        }
        command = [sys.executable, "-m", "ui", *(str(text) for option in options.items() for text in option)]
        # It ends when its standard input closes, so also when the gateway is killed.
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=self._folder.path, env=passed_on | own, stdin=PIPE
        )
        await self._until_ready(self._process)
        log.info("the page is ready at /ui")

    async def _until_ready(self, process: Process) -> None:
        try:
            async with asyncio.timeout(START_S):
                while not await _listens(self._listening_at):
                    if process.returncode is not None:
                        raise LoadFailed("the page's process has ended; the server's log says why")
                    await asyncio.sleep(_ASKED_AGAIN_S)
        except TimeoutError as error:
            raise LoadFailed(f"the page has not started within {START_S:g} s") from error


async def _listens(path: Path) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        return True
    return False
