"""Our own command, `jubako`, which reads the key from its environment variable."""

from __future__ import annotations

import json
import shlex
from typing import Any

from client import calls
from ui.snippets.snippet_request import STORY, VIDEOS, SnippetRequest

OPTIONS = {
    "model": "-m",
    "width": "--width",
    "height": "--height",
    "num_inference_steps": "--steps",
    "guidance_scale": "--guidance",
    "negative_prompt": "--negative",
    "image": "-i",
    "mask": "--mask",
    **{name: f"--{name.replace('_', '-')}" for name in ("last_image", *calls.VIDEOS)},
}


def command(said: SnippetRequest) -> str:
    """Return a command."""
    own = said.own
    names = {STORY: "story", **dict.fromkeys(VIDEOS, "video")}
    words = ["jubako", "--url", said.address, names.get(said.api, "draw"), own.pop("prompt")]
    lines = [shlex.join(words), *(f"-i {shlex.quote(image)}" for image in own.pop("images", ()))]
    known = {} if said.api == STORY else OPTIONS
    for name, value in own.items():
        option = {**known, "model": "-m"}.get(name)
        lines.append(f"{option} {shlex.quote(str(value))}" if option else f"--set {shlex.quote(_setting(name, value))}")
    lines.append(f"--seed {said.seeds[0]}")
    if said.count > 1:
        lines.append(f"-n {said.count}")
    lines.append("-o story" if said.api == STORY else f"-o {said.api}.{said.ending}")
    return " \\\n    ".join(lines)


def _setting(name: str, value: Any) -> str:
    """Return NAME=VALUE, quoted where the command would parse a text as JSON."""
    if not isinstance(value, str):
        return f"{name}={json.dumps(value)}"
    try:
        json.loads(value)
    except ValueError:
        return f"{name}={value}"
    return f"{name}={json.dumps(value)}"
