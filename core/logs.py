"""The log of everything under `jubako`, on stderr beside that of BentoML, which shows its own only."""

from __future__ import annotations

import logging


def show_log() -> None:
    """Write what `jubako.*` logs, from INFO on; asked again, it changes nothing."""
    logger = logging.getLogger("jubako")
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [%(name)s] %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logger.addHandler(handler)
    # In the processes of services BentoML's own handler, at the root, would write each line again.
    logger.propagate = False
    logger.setLevel(logging.INFO)
