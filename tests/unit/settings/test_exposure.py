"""Whether a server says that everybody may use it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from pathlib import Path

import pytest

from access.exposure import served_host, warn_if_exposed

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("host", "closed", "lines"),
    [
        *(("0.0.0.0", False, 1), ("192.168.1.5", False, 1), ("::", False, 1), ("gpu-box", False, 1)),
        *(("127.0.0.1", False, 0), ("127.0.0.2", False, 0), ("::1", False, 0), ("localhost", False, 0)),
        *(("0.0.0.0", True, 0), (None, False, 0)),
    ],
)
def test_an_open_address_without_keys_is_one_line(
    host: str | None, closed: bool, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("jubako.access")
    logger.addHandler(caplog.handler)
    warn_if_exposed(host, closed)
    logger.removeHandler(caplog.handler)
    told = {record.getMessage() for record in caplog.records}
    assert len(told) == lines
    assert all(f"listens on {host} without API keys" in line for line in told)


def test_the_address_is_that_of_the_socket_that_was_handed_over(tmp_path: Path) -> None:
    for family, address, host in (
        (socket.AF_INET, ("0.0.0.0", 0), "0.0.0.0"),
        (socket.AF_INET, ("127.0.0.1", 0), "127.0.0.1"),
        (socket.AF_UNIX, str(tmp_path / "socket"), None),
    ):
        with socket.socket(family) as listener:
            listener.bind(address)
            assert (
                served_host(["worker.py", "service:Jubako", "--fd", str(listener.fileno()), "--backlog", "1"]) == host
            )
            assert listener.fileno() >= 0
            assert listener.getsockname()
    assert served_host(["pytest"]) is None


@pytest.mark.parametrize(
    ("variables", "host"),
    [({}, "127.0.0.1"), ({"HOST": "0.0.0.0"}, "0.0.0.0"), ({"DIFFUSER_HOST": "0.0.0.0"}, "0.0.0.0")],
)
def test_make_serves_this_machine_unless_it_is_told_to_serve_others(variables: dict[str, str], host: str) -> None:
    command = subprocess.run(
        ["make", "--dry-run", "serve"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"serve service:Jubako --host {host} --port 3000" in command.stdout
