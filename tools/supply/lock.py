"""What is locked."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "constraints.txt"


def pins(lock: Path = LOCK) -> dict[str, str]:
    """Return the locked version of each package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", lock.read_text("utf-8"), re.MULTILINE))
