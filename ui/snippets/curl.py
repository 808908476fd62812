"""curl: one request for each image, since a typed API answers with one file; a story is one too, a zip."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from client.calls import FILES
from ui.snippets.snippet_request import KEY, LAYERS, PLAN, STORY, SnippetRequest

ROUTES = {STORY: ("'{}/generate?format=zip'", "zip"), PLAN: ("{}/storyboard/plan", "json")}
"""Address and file extension of what has no typed API, or one whose answer suits programs only."""


def curl(said: SnippetRequest) -> str:
    """Return a command, or a loop over the seeds of several images; or a comment why not."""
    if said.in_layers:
        return LAYERS
    if len(said.seeds) == 1:
        return _request(said, str(said.seeds[0]))
    seeds = " ".join(map(str, said.seeds))
    return f"for seed in {seeds}; do\n{_request(said, '$seed')}\ndone"


def _request(said: SnippetRequest, seed: str) -> str:
    route, ending = ROUTES.get(said.api, (f"{{}}/{said.api}", said.ending))
    lines = [f"curl -sS --fail-with-body {route.format(said.address)}"]
    if said.keyed:
        lines.append(f'-H "Authorization: Bearer ${KEY}"')
    lines += _form(said, seed) if said.has_files else _json(said, seed)
    lines.append(f"-o {said.api}-{seed}.{ending}")
    return " \\\n    ".join(lines)


def _json(said: SnippetRequest, seed: str) -> Iterator[str]:
    yield "-H 'Content-Type: application/json'"
    before, after = json.dumps({**said.own, "seed": 0}, ensure_ascii=False).rsplit("0", 1)
    yield (
        f"-d {shlex.quote(before)}{seed}{shlex.quote(after)}"
        if seed.startswith("$")
        else (f"-d {shlex.quote(before + seed + after)}")
    )


def _form(said: SnippetRequest, seed: str) -> Iterator[str]:
    for name, value in said.own.items():
        if name in FILES:
            yield f"-F {shlex.quote(f'{name}=@{value}')}"
        elif name == "images":
            yield from (f"-F {shlex.quote(f'images=@{each}')}" for each in value)
        else:
            # --form-string takes the text literally, whatever it begins with.
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"--form-string {shlex.quote(f'{name}={text}')}"
    yield f"--form-string seed={seed}"
