"""A client made from the server's own description: `generated.py ADDRESS PICTURE FOLDER` prints one line of JSON."""

from __future__ import annotations

import base64
import importlib
import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ADDRESS, PICTURE, FOLDER = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
NAME = "made_client"


# As docs/contracts.md has it: its maker knows no files but this kind.
FILES = ("image/png", "image/jpeg", "image/webp", "image/gif", "video/mp4", "video/webm")
CONFIG = {"content_type_overrides": dict.fromkeys(FILES, "application/octet-stream"), "post_hooks": []}


def make() -> None:
    """Make the client. Whatever its maker cannot read of the description ends this."""
    program, config = Path(sys.executable).with_name("openapi-python-client"), FOLDER / "config.json"
    config.write_text(json.dumps(CONFIG))
    # Its maker waits for an address for 5 seconds, and a busy machine may take longer.
    description = FOLDER / "openapi.json"
    with urlopen(f"{ADDRESS}/openapi.json", timeout=60) as answer:
        description.write_bytes(answer.read())
    options = ["--path", str(description), "--meta", "none", "--output-path", str(FOLDER / NAME)]
    subprocess.run(
        [program, "generate", "--fail-on-warning", "--config", config, *options], check=True, stdout=sys.stderr
    )


def part(name: str) -> Any:
    return importlib.import_module(f"{NAME}.{name}")


def shown(answer: Any) -> tuple[str, str]:
    """An image, and its seed as the header says it."""
    return base64.b64encode(answer.parsed.payload.read()).decode(), answer.headers["x-jubako-seed"]


make()
sys.path.insert(0, str(FOLDER))
models, types = part("models"), part("types")
with part("client").Client(base_url=ADDRESS, timeout=120) as client:
    wanted = {"model": "tiny", "prompt": "a red apple", "seed": 7}
    drawn = part("api.images_and_videos.text_to_image").sync_detailed(
        client=client, body=models.TextToImageRequest(**wanted)
    )
    picture = types.File(BytesIO(PICTURE.read_bytes()), "picture.png", "image/png")
    changed = part("api.images_and_videos.image_to_image").sync_detailed(
        client=client, body=models.ImageToImageForm(image=picture, strength=0.5, **wanted)
    )
    refused = part("api.images_and_videos.text_to_image").sync(
        client=client, body=models.TextToImageRequest(**{**wanted, "width": 7})
    )
    job = part("api.jobs.jobs_submit_t2i").sync(
        "tiny", client=client, body=models.TextToImageJobRequest(prompt="a red apple")
    )
    generated = part("api.jubako_open_ai_images_api.openai_generations").sync(
        client=client, body=models.OpenAIGenerationRequest(**wanted)
    )
    listed = part("api.operations.operations_models").sync(client=client)
seen = {
    "drawn": shown(drawn),
    "changed": shown(changed),
    "refused": (str(refused.code), refused.field),
    "job": str(job.status),
    "openai": generated.data[0].b64_json,
    "models": [model.id for model in listed.models],
}
json.dump(seen, sys.stdout)
