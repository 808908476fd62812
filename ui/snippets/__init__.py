"""A request as code: exactly what the page would send, for a shell and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ui.snippets.bentoml_client import bentoml_client
from ui.snippets.command import command
from ui.snippets.curl import curl
from ui.snippets.openai_sdk import openai_sdk
from ui.snippets.snippet_request import SnippetRequest

SNIPPETS: Mapping[str, Callable[[SnippetRequest], str]] = {
    "curl": curl,
    "BentoML": bentoml_client,
    "OpenAI": openai_sdk,
    "jubako": command,
}
"""The snippets, in order, by the names of their tabs."""
