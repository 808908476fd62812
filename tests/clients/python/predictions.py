"""What Replicate's own client makes of a server: `python predictions.py ADDRESS PICTURE` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["REPLICATE_POLL_INTERVAL"] = "0.1"

from replicate import Client  # type: ignore[import-not-found]  # it reads the interval
from replicate.exceptions import ReplicateError  # type: ignore[import-not-found]

client = Client(api_token="not-needed", base_url=f"{sys.argv[1]}/replicate")
APPLE: dict[str, Any] = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 2}


def followed() -> dict[str, Any]:
    prediction = client.predictions.create(model="jubako/tiny", input=APPLE)
    prediction.wait()
    return {"status": prediction.status, "output": prediction.output, "progress": prediction.progress.percentage}


def cancelled() -> str:
    prediction = client.predictions.create(version="tiny", input={**APPLE, "num_inference_steps": 900, "seed": 8})
    prediction.cancel()
    return str(prediction.status)


def error() -> dict[str, Any]:
    try:
        client.run("jubako/tiny", input={**APPLE, "width": 7})
    except ReplicateError as refused:
        return {"status": refused.status, "detail": refused.detail}
    return {}


with Path(sys.argv[2]).open("rb") as picture:
    edit = {"prompt": "a blue apple", "image": picture}
    edited = client.run("jubako/tiny-edit", input=edit, file_encoding_strategy="base64")
seen = {
    "run": client.run("jubako/tiny", input={**APPLE, "num_outputs": 2}),
    "edited": edited,
    "followed": followed(),
    "cancelled": cancelled(),
    "listed": len(client.predictions.list().results),
    "error": error(),
}
json.dump(seen, sys.stdout)
