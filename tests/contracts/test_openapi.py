"""Requests made up from our OpenAPI description: whatever they say, no answer is a server's error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = 8
"""Requests for each operation, beside those that its limits suggest."""

SETTINGS = """
[checks.not_a_server_error]
# A deadline that a request sets itself may pass.
expected-statuses = ["2xx", "3xx", "4xx", "504"]
"""


def test_no_request_is_answered_by_a_server_error(server: str, tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name("schemathesis"))
    options = ["--url", server, "--checks", "not_a_server_error", "--max-examples", str(EXAMPLES)]
    # A story is several pictures.
    options += ["--request-timeout", "60"]
    # The same requests every time.
    repeatable = ["--generation-deterministic", "--no-color"]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    command = [
        program,
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
        "run",
        f"{server}/openapi.json",
        *options,
        *repeatable,
        "--phases",
        "coverage,fuzzing",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
