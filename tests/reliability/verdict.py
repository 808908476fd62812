"""How a run ends: with what it found, on the terminal and as the exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from tests.reliability.footprint import Footprint


def end_with(before: Footprint, after: Footprint, faults: Sequence[str]) -> NoReturn:
    """Print the footprints and the faults, and end the process: with 1 if there is a fault."""
    print(f"before: {before}\nafter: {after}")
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "no fault")
    sys.exit(1 if faults else 0)
