"""What Ollama's own client makes of a server: `python ollama_images.py ADDRESS PICTURE` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ollama import Client, ResponseError  # type: ignore[import-not-found]

client = Client(host=f"{sys.argv[1]}/ollama")
APPLE: dict[str, Any] = {"model": "tiny", "prompt": "a red apple", "width": 64, "height": 64, "steps": 2}


def error() -> dict[str, Any]:
    try:
        client.generate(**{**APPLE, "width": 7})
    except ResponseError as refused:
        return {"status": refused.status_code, "error": refused.error}
    return {}


seen = {
    "image": client.generate(**APPLE, options={"seed": 7}).image,
    "progress": [
        [part.completed, part.total, part.done, bool(part.image)] for part in client.generate(**APPLE, stream=True)
    ],
    "edited": client.generate(model="tiny-edit", prompt="a blue apple", images=[Path(sys.argv[2]).read_bytes()]).image,
    "models": [model.model for model in client.list().models],
    "capabilities": client.show("tiny").capabilities,
    "error": error(),
}
json.dump(seen, sys.stdout)
