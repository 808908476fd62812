from __future__ import annotations

import gc
import os
from functools import cache
from pathlib import Path

import httpx
import httpx._transports.default as http_transports
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Before torch is imported: teams of threads that wait for each other make tiny tensors slow, here and in servers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A developer's own settings are not those that tests expect.
os.environ["JUBAKO_ENV_FILE"] = os.devnull

# Each client of httpx that the product makes would read all certificates, which takes 47 ms.
http_transports.create_ssl_context = cache(httpx.create_ssl_context)  # type: ignore[attr-defined]

SHARED_SERVERS = {
    "openai_server: Replica": "openai_server",
    "browsed: Browsed": "openai_server",
    "server: str": "server",
}
"""How tests ask for the fixtures of contracts/ that serve a session, and for a browser on one of them."""
SLOW_FIRST = {"processes", "contracts", "deploy"}
"""Folders whose files take longest; left to the end, one of them would keep a worker busy alone."""


class FilesByServer(LoadFileScheduling):  # type: ignore[misc]
    """Give each worker a file at a time, and to one of them all files that share a server, which starts once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return shared_server(self.config.rootpath / file) or file


@cache
def shared_server(file: Path) -> str | None:
    if "contracts" not in file.parts:
        return None
    text = file.read_text("utf-8")
    return next((server for asked, server in SHARED_SERVERS.items() if asked in text), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesByServer:
    return FilesByServer(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the random order, but for files: those that share servers begin, then those of slow folders."""
    items.sort(key=lambda item: (shared_server(item.path) is None, SLOW_FIRST.isdisjoint(item.path.parts)))


def pytest_collection_finish() -> None:
    """Leave what was imported out of later searches for garbage: a model that is unloaded causes one of everything."""
    gc.collect()
    gc.freeze()
