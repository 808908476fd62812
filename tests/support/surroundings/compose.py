"""Compose itself, which reads our files without a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.servers.serving import ROOT


def compose(*arguments: str | Path, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `docker-compose config`, whose output is the whole configuration as JSON."""
    program = Path(sys.executable).with_name("docker-compose")
    command = [str(part) for part in (program, *arguments, "config", "--format", "json")]
    return subprocess.run(
        command, cwd=folder, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True
    )
