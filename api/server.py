"""Starts the storyboard server as its document says.

python api/server.py --lora-path outputs/checkpoints/final
uvicorn api.server:app --host 0.0.0.0 --port 8000 --workers 2
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PORT = 8000


def main() -> None:
    """Serve until a signal comes. Options are passed in environment variables, so that all workers see them."""
    # Python puts the script's folder first on the path, where its `jobs` and `openai` would hide the real packages.
    sys.path[0] = str(ROOT)
    import uvicorn

    options = _arguments()
    if options.lora_path is not None:
        os.environ.pop("JUBAKO_LORA_PATH", None)
        os.environ["LORA_PATH"] = options.lora_path
    _prepare(options.host)
    uvicorn.run(
        "api.server:app",
        host=options.host,
        port=options.port,
        reload=options.reload,
        reload_dirs=[str(ROOT)] if options.reload else None,
        workers=options.workers,
        http="processes.http.protocol:BoundedHttp",
        ws="processes.http.protocol:BoundedWebSocket",
    )


def _prepare(host: str) -> None:
    """Check the settings, and apply those that concern uvicorn."""
    from access.exposure import warn_if_exposed
    from access.keys import Keyring
    from access.sites import trust_proxies
    from core.logs import show_log
    from processes.starting import starting
    from settings import settings

    with starting():
        closed = Keyring.of(settings()).closed
    show_log()
    warn_if_exposed(host, closed)
    trust_proxies(settings().trusted_proxies)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api/server.py", description="Storyboard generation API server")
    parser.add_argument("--lora-path", help="the character's LoRA: a file, or a folder with one (LORA_PATH)")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, reachable from this machine only")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    parser.add_argument("--reload", action="store_true", help="restart when the code changes")
    parser.add_argument("--workers", type=int, help="processes, each with its own models; default: 1")
    return parser.parse_args()


if __name__ == "__main__":
    main()
elif __name__ == "api.server":
    # Not in a starting worker, which first imports this script under another name.
    from standalone.story_server import app as app
