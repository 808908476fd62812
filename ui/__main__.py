"""`python -m ui --socket PATH --server URL --largest-file BYTES`: serve the page, until standard input ends."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

import uvicorn

from ui.app import ui_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ui", description=__doc__)
    parser.add_argument("--socket", required=True, help="where to listen")
    parser.add_argument("--server", required=True, help="the address of the API")
    parser.add_argument("--largest-file", required=True, type=int, help="in bytes; a browser uploads no larger one")
    chosen = parser.parse_args()
    threading.Thread(target=_end_with_gateway, daemon=True).start()
    uvicorn.run(
        ui_app(chosen.server, chosen.largest_file), uds=chosen.socket, log_level="warning", timeout_graceful_shutdown=1
    )


def _end_with_gateway() -> None:
    """Wait until the gateway closes our standard input, or is gone."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
