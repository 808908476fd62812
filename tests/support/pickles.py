"""A pickle that shows that it was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PICKLE = "application/vnd.bentoml+pickle"
"""The content type under which BentoML's own services read pickles."""


class Attack:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self._file,)
