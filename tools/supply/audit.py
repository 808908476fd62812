"""`python -m tools.supply.audit` asks pip-audit for known vulnerabilities of locked packages; any is a failure.

If no advisories are available, offline or behind a mirror of PyPI without them, it says so and passes: the gate must
not depend on the network.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.supply.lock import LOCK, UI_LOCK, UPSCALE_LOCK

TIMEOUT_S = 120
"""Time limit for the whole audit; a single query has `CONNECT_S`."""
CONNECT_S = 10
_UNREACHABLE = ("ConnectionError", "Timeout", "Max retries exceeded", "HTTPError")


def main(lock: Path, options: Sequence[str]) -> int:
    """Audit a lock file with pip-audit's further options; returns the exit status."""
    # The lock names releases without builds (torch==2.13.0, not 2.13.0+cpu), as advisories do.
    program = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(lock)]
    quiet = ["--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", f"--timeout={CONNECT_S}"]
    try:
        run = subprocess.run(
            [*program, *quiet, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return _skipped(f"no answer within {TIMEOUT_S} seconds")
    if not run.stdout:
        last = (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
        unreachable = any(word in run.stderr for word in _UNREACHABLE)
        return _skipped(last[:200]) if unreachable else _say(run.stderr, status=run.returncode)
    return _judged(json.loads(run.stdout)["dependencies"])


def _judged(packages: Sequence[dict[str, Any]]) -> int:
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return _skipped(packages[0]["skip_reason"])
    found = [(package, each) for package in audited for each in package["vulns"]]
    for package, each in found:
        names = ", ".join([each["id"], *each["aliases"]])
        mended = ", ".join(each["fix_versions"]) or "no release yet"
        _say(f"{package['name']} {package['version']}: {names}; mended in {mended}")
    left_out = "".join(f"; nothing is known of {each['name']}" for each in packages if each not in audited)
    return _say(f"audit: {len(found)} known vulnerabilities in {len(audited)} packages{left_out}", status=bool(found))


def _skipped(reason: str) -> int:
    return _say(f"audit: SKIPPED, no advisories to be had: {reason}", status=0)


def _say(text: str, status: int = 0) -> int:
    print(text)  # noqa: T201  # a command talks to its terminal
    return int(status)


if __name__ == "__main__":
    sys.exit(max([main(lock, sys.argv[1:]) for lock in (LOCK, UI_LOCK, UPSCALE_LOCK)]))
