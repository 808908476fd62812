"""What is locked."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "constraints.txt"
UI_LOCK = ROOT / "constraints-ui.txt"
"""The page's packages, which are installed apart: one (Pillow) has another version."""
UPSCALE_LOCK = ROOT / "constraints-upscale.txt"
"""The extra of that name."""
UI_FOLDER = "jubako-ui"
"""Where the page's packages are installed, below the environment's prefix."""


def pins(lock: Path = LOCK) -> dict[str, str]:
    """Return the locked version of each package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", lock.read_text("utf-8"), re.MULTILINE))
