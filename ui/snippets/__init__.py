"""A request as code: exactly what the page would send, for a shell and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ui.snippets.bentoml_client import bentoml_client
from ui.snippets.command import command
from ui.snippets.curl import curl
from ui.snippets.openai_sdk import openai_sdk
from ui.snippets.said import Said


@dataclass(frozen=True)
class Snippet:
    language: Literal["shell", "python"]
    write: Callable[[Said], str]


SNIPPETS: Mapping[str, Snippet] = {
    "curl": Snippet("shell", curl),
    "BentoML": Snippet("python", bentoml_client),
    "OpenAI": Snippet("python", openai_sdk),
    "jubako": Snippet("shell", command),
}
"""In their order, by the names of their tabs."""
