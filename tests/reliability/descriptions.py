"""Requests made from our OpenAPI descriptions by schemathesis."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.descriptions import shortened_description

SETTINGS = """
[checks.not_a_server_error]
# Too much at once, and a deadline that a request sets itself.
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""
TIME_LIMIT_S = 900.0
OPERATIONS = 10
"""Of a description, by a rough average."""


def schemathesis_of(url: str, seed: int, count: int) -> tuple[int, list[str]]:
    """Send about `count` requests to the operations of a description; return how many, and what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "schemathesis.toml"
        settings.write_text(SETTINGS)
        description = shortened_description(url, Path(folder))
        options = ["--url", url, "--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--no-color"]
        options += ["--request-timeout", "60", "--seed", str(seed)]
        options += ["--max-examples", str(max(1, count // OPERATIONS))]
        program = Path(sys.executable).with_name("schemathesis")
        command = [str(program), "--config-file", str(settings), "run", str(description), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    found = re.search(r"(\d+) generated", done.stdout)
    faults = [] if done.returncode == 0 else [done.stdout[-4000:] + done.stderr[-2000:]]
    return int(found[1]) if found else 0, faults
