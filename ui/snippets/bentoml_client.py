"""BentoML's own client, which knows the typed APIs by their names."""

from __future__ import annotations

from typing import Any

from client.calls import FILES
from ui.snippets.snippet_request import KEY, LAYERS, STORY, VIDEOS, SnippetRequest


def bentoml_client(said: SnippetRequest) -> str:
    """Return a program that saves one file for each seed, or for each frame of a story; or a comment why not."""
    if said.in_layers:
        return LAYERS
    return _story(said) if said.api == STORY else _files(said)


def _files(said: SnippetRequest) -> str:
    arguments = [f"{name}={_written(name, value)}," for name, value in said.own.items()]
    target = f'f"{said.api}-{{seed}}.{said.ending}"'
    keeping = f"shutil.move(result, {target})" if said.api in VIDEOS else f"result.save({target})"
    needed = {"os": said.keyed, "shutil": said.api in VIDEOS}
    imports = [f"import {name}" for name, is_needed in needed.items() if is_needed]
    paths = ["from pathlib import Path"] if said.has_files else []
    standard = [*imports, *paths, ""] if imports or paths else []
    lines = [
        *standard,
        "import bentoml",
        "",
        _client(said),
        f"    for seed in {list(said.seeds)}:",
        f"        result = jubako.{said.api}(",
        *(f"            {each}" for each in [*arguments, "seed=seed,"]),
        "        )",
        f"        {keeping}",
    ]
    return "\n".join(lines)


def _story(said: SnippetRequest) -> str:
    arguments = [f"{name}={_written(name, value)}," for name, value in {**said.own, "seed": said.seeds[0]}.items()]
    lines = [
        "import base64",
        *(["import os"] if said.keyed else []),
        "from pathlib import Path",
        "",
        "import bentoml",
        "",
        _client(said),
        "    story = jubako.storyboard(",
        *(f"        {each}" for each in arguments),
        "    )",
        'for frame in story["frames"]:',
        """    file = Path(f"frame_{frame['frame_number']:03d}.png")""",
        '    file.write_bytes(base64.b64decode(frame["image"]))',
    ]
    return "\n".join(lines)


def _client(said: SnippetRequest) -> str:
    token = f', token=os.environ["{KEY}"]' if said.keyed else ""
    return f'with bentoml.SyncHTTPClient("{said.address}"{token}, timeout=600) as jubako:'


def _written(name: str, value: Any) -> str:
    if name in FILES:
        return f"Path({value!r})"
    return f"[{', '.join(f'Path({each!r})' for each in value)}]" if name == "images" else repr(value)
