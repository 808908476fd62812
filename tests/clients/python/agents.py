"""What Haystack's generator and an agent of smolagents make of a server: `python agents.py ADDRESS` prints JSON.

Runs in an environment of its own (tools/need-clients).
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from io import BytesIO
from typing import Any

# Haystack would report its use.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack import Pipeline  # type: ignore[import-not-found]  # it reads the variable
from haystack.components.generators import OpenAIImageGenerator  # type: ignore[import-not-found]
from haystack.utils import Secret  # type: ignore[import-not-found]
from smolagents import MCPClient  # type: ignore[import-not-found]

ADDRESS = sys.argv[1]


def with_haystack() -> dict[str, Any]:
    generator = OpenAIImageGenerator(
        model="tiny", size="64x64", api_base_url=f"{ADDRESS}/v1", api_key=Secret.from_token("not-needed")
    )
    pipeline = Pipeline()
    pipeline.add_component("images", generator)
    answer = pipeline.run({"images": {"prompt": "a red apple"}})["images"]
    return {"images": answer["images"], "prompt": answer["revised_prompt"]}


def with_smolagents() -> dict[str, Any]:
    server = {"url": f"{ADDRESS}/mcp", "transport": "streamable-http"}
    with MCPClient(server, structured_output=False) as tools:
        by_name = {tool.name: tool for tool in tools}
        made = by_name["generate_image"](prompt="a red apple", model="tiny", seed=7)
        # What a tool refuses, the agent reads.
        error = by_name["generate_image"](prompt="a red apple", model="tiny", width=7)
    return {"tools": sorted(by_name), "made": _shown(made), "error": error}


def _shown(made: Any) -> str:
    if isinstance(made, str):
        return made
    buffer = BytesIO()
    made.save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()


json.dump({"haystack": with_haystack(), "smolagents": with_smolagents()}, sys.stdout)
