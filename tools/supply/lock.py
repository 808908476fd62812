"""What is locked."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "constraints.txt"
UI_LOCK = ROOT / "constraints-ui.txt"
"""What the page has apart from the rest, one package (Pillow) in another version."""
UPSCALE_LOCK = ROOT / "constraints-upscale.txt"
"""The extra of that name."""
UI_FOLDER = "jubako-ui"
"""Where that is installed, below the prefix of the environment."""


def pins(lock: Path = LOCK) -> dict[str, str]:
    """Return the locked version of each package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", lock.read_text("utf-8"), re.MULTILINE))
