"""Files that the page shows or sends: in folders of their own, and removed after a day."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

KEPT_S = 24 * 3600
PREFIX = "drawing-"
_NAME_BYTES = 16
"""Random bytes in folders' names, so that nobody can guess the addresses of files in them."""


def new_folder() -> Path:
    """Make a folder in which Gradio may show files, and remove the old ones."""
    root = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    for folder in root.glob(f"{PREFIX}*"):
        # Another thread may be removing it too.
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
    own = root / f"{PREFIX}{secrets.token_hex(_NAME_BYTES)}"
    own.mkdir(mode=0o700)
    return own
