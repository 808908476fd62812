from __future__ import annotations

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Before torch is imported: teams of threads that wait for each other make tiny tensors slow, here and in servers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A developer's own settings are not those that tests expect.
os.environ["JUBAKO_ENV_FILE"] = os.devnull

SHARED_SERVERS = {
    "server": (
        "test_00_server_tutorial",
        "test_client",
        "test_conditions",
        "test_gateway",
        "test_image_rules",
        "test_openapi",
        "test_other_sites",
        "test_pipeline_contract",
        "test_served_files",
        "test_sub_path",
    ),
    "openai_server": (
        "test_hugging_face",
        "test_openai",
        "test_openai_chat",
        "test_openai_videos",
        "test_others_images",
        "test_pages",
        "test_real_clients",
    ),
}
"""By fixture: the files in contracts/ that use it."""
SLOW_FIRST = ("processes", "contracts", "deploy")
"""Folders whose files take longest; left to the end, one of them would keep a worker busy alone."""


class FilesByServer(LoadFileScheduling):  # type: ignore[misc]
    """Give each worker a file at a time, and to one of them all files that share a server, which starts once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        for server, names in SHARED_SERVERS.items():
            if file.endswith(tuple(f"contracts/{name}.py" for name in names)):
                return server
        return file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesByServer:
    return FilesByServer(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the random order, but for the folders: the slow ones begin."""
    items.sort(key=lambda item: item.path.parent.name not in SLOW_FIRST)
