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
    """Serve until a signal comes. What is set goes through the environment, so that all workers see it."""
    # A script's own folder is first on the path, and has modules that are named as others at the root: jobs, openai.
    sys.path[0] = str(ROOT)
    import uvicorn

    asked = _arguments()
    if asked.lora_path is not None:
        os.environ.pop("JUBAKO_LORA_PATH", None)
        os.environ["LORA_PATH"] = asked.lora_path
    uvicorn.run(
        "api.server:app",
        host=asked.host,
        port=asked.port,
        reload=asked.reload,
        reload_dirs=[str(ROOT)] if asked.reload else None,
        workers=asked.workers,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="api/server.py", description="Storyboard generation API server")
    parser.add_argument("--lora-path", help="the character's LoRA: a file, or a folder with one (LORA_PATH)")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, which is for this machine alone")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    parser.add_argument("--reload", action="store_true", help="start again when the code changes")
    parser.add_argument("--workers", type=int, help="processes, each with models of its own; default: 1")
    return parser.parse_args()


if __name__ == "__main__":
    main()
elif __name__ == "api.server":
    # Not in the processes that workers are made from, which import this script by another name.
    from standalone.story_server import app as app
