"""OpenAI's Python client; parameters that OpenAI does not have go into `extra_body`."""

from __future__ import annotations

from typing import Any

from client import calls
from ui.snippets.snippet_request import KEY, STORY, VIDEOS, SnippetRequest

FOREIGN = (
    *("reference_image", "control_image", "last_image", *calls.VIDEOS),
    *("reference_scale", "control_scale", "control_type", "camera", "method"),
)
"""Parameters that these routes do not take."""
MOST_IMAGES = 10
"""In one request: `n`."""
_MASK = """
# OpenAI repaints what is transparent; here the mask's white part is.
alpha = ImageOps.invert(Image.open({mask!r}).convert("L"))
mask = Image.new("RGBA", alpha.size)
mask.putalpha(alpha)
mask.save("transparent.png")
"""


def openai_sdk(said: SnippetRequest) -> str:
    """Return a program; or a comment why there is none."""
    if foreign := [name for name in FOREIGN if name in said.parameters]:
        return f"# OpenAI's API has no {', '.join(foreign)}; the other ways have."
    if said.api == STORY:
        return "# OpenAI's API has no storyboards; the other ways have."
    if said.count > MOST_IMAGES:
        return f"# OpenAI's API makes at most {MOST_IMAGES} images at once; jubako makes all {said.count}."
    return _video(said) if said.api in VIDEOS else _images(said)


def _images(said: SnippetRequest) -> str:
    own = dict(said.own)
    arguments: dict[str, Any] = {name: own.pop(name) for name in ("model", "prompt") if name in own}
    if "width" in own:
        arguments["size"] = f"{own.pop('width')}x{own.pop('height')}"
    arguments["n"] = said.count
    arguments |= {"response_format": "b64_json"}
    masked = "mask" in own
    files = _files(own)
    call = "images.edit" if files else "images.generate"
    stem = "{image.seed}-{number}" if said.in_layers else "{image.seed}"
    lines = [
        "import base64",
        *(["import os"] if said.keyed else []),
        "from pathlib import Path",
        "",
        "from openai import OpenAI",
        *(["from PIL import Image, ImageOps", _MASK.format(mask=said.own["mask"]).rstrip()] if masked else []),
        "",
        _client(said),
        f"answer = client.{call}(",
        *(f"    {name}={value!r}," for name, value in arguments.items()),
        *(f"    {line}," for line in files),
        f"    extra_body={ {**own, 'seed': said.seeds[0]}!r},",
        ")",
        f"for {'number, image in enumerate(answer.data, 1)' if said.in_layers else 'image in answer.data'}:",
        f'    Path(f"{said.api}-{stem}.{said.ending}").write_bytes(base64.b64decode(image.b64_json))',
    ]
    return "\n".join(lines)


def _files(own: dict[str, Any]) -> list[str]:
    """Remove the files from the parameters and return them as arguments."""
    found = []
    if "image" in own:
        found.append(f'image=open({own.pop("image")!r}, "rb")')
    if "images" in own:
        opened = ", ".join(f'open({each!r}, "rb")' for each in own.pop("images"))
        found.append(f"image=[{opened}]")
    if own.pop("mask", None):
        found.append('mask=open("transparent.png", "rb")')
    return found


def _video(said: SnippetRequest) -> str:
    own = dict(said.own)
    arguments: dict[str, Any] = {name: own.pop(name) for name in ("model", "prompt") if name in own}
    if "width" in own:
        arguments["size"] = f"{own.pop('width')}x{own.pop('height')}"
    first = own.pop("image", None)
    file = f"{said.api}-{said.seeds[0]}.{said.ending}"
    lines = [
        *(["import os", ""] if said.keyed else []),
        "from openai import OpenAI",
        "",
        _client(said),
        "video = client.videos.create_and_poll(",
        *(f"    {name}={value!r}," for name, value in arguments.items()),
        *([f'    input_reference=open({first!r}, "rb"),'] if first else []),
        f"    extra_body={ {**own, 'seed': said.seeds[0]}!r},",
        ")",
        f'client.videos.download_content(video.id).write_to_file("{file}")',
    ]
    return "\n".join(lines)


def _client(said: SnippetRequest) -> str:
    key = f'os.environ["{KEY}"]' if said.keyed else '"not-needed"'
    return f'client = OpenAI(base_url="{said.address}/v1", api_key={key})'
