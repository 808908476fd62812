from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browsed, browsing
from tests.support.servers.openai_server import openai_replica
from tests.support.servers.replica import Replica
from tests.support.servers.serving import serving, write_tiny_catalogue


@pytest.fixture(scope="session")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="session")
def server(served_folder: Path) -> Iterator[str]:
    """The address of a real server of `tiny`, `tiny-xl`, which the pipeline's contract uses, and `tiny-video`."""
    pipeline = {"MODEL": "stable-diffusion-xl", "aliases": "stable-diffusion-xl=tiny-xl"}
    others = {"trusted_proxies": "127.0.0.1", "lora_folder": str(served_folder / "loras"), "lora_repos": "someone"}
    (served_folder / "loras").mkdir()
    catalogue, log = write_tiny_catalogue(served_folder), served_folder / "log"
    with serving(catalogue, log, **pipeline, **others) as url:
        yield url


@pytest.fixture(scope="session")
def openai_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A server of a model of each kind, `tiny-edit` the first, some of them under OpenAI's names too."""
    with openai_replica(tmp_path_factory.mktemp("openai")) as running:
        yield running


@pytest.fixture(scope="module")
def browsed(openai_server: Replica) -> Iterator[Browsed]:
    """A browser for the page `/ui` of that server; of a module, since its event loop is in others' way."""
    with browsing(openai_server.url) as browser:
        yield browser
