"""Copy as code: the request that the page would send, for a shell and for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from ui.generating.panel import NothingToDraw
from ui.page import QUIET
from ui.snippets import SNIPPETS
from ui.snippets.snippet_request import SnippetRequest

ReadRequest = Callable[[dict[Any, Any]], tuple[str, dict[str, Any]]]
"""Makes an API's name and parameters from components' values. May raise NothingToDraw."""


class CodePanel:
    """A folded panel; its text is written when it is unfolded, and again after each drawing."""

    def __init__(
        self,
        name: str,
        given: set[Any],
        asked: ReadRequest,
        ways: Sequence[str] = tuple(SNIPPETS),
        label: str = "Copy as code",
        layered: Callable[[dict[Any, Any]], bool] = lambda _: False,
    ) -> None:
        """Lay it out here; `name` is the prefix of its elements' ids, `ways` are the snippets to offer.

        `layered` says, from components' values, whether the images are layers of one.
        """
        self._asked = asked
        self._ways = ways
        self._layered = layered
        with gr.Accordion(label, open=False, elem_id=f"{name}-code") as panel:
            gr.Markdown("Exactly this request. Files have the names that you gave them; servers with keys want yours.")
            with gr.Tabs():
                self.outputs = [_snippet(way) for way in ways]
        panel.expand(self.written, given, self.outputs, **QUIET)

    def written(self, given: dict[Any, Any], request: gr.Request) -> list[str]:
        """Return the request as each of the snippets."""
        try:
            api, parameters = self._asked(given)
        except NothingToDraw as missing:
            return [f"# {missing}"] * len(self.outputs)
        return self.texts(request, api, parameters, self._layered(given))

    def texts(self, request: gr.Request, api: str, parameters: Mapping[str, Any], layered: bool = False) -> list[str]:
        """Return a request with known parameters as each of the snippets."""
        known = {name: value for name, value in parameters.items() if value is not None}
        said = SnippetRequest(_address(request), api, known, "authorization" in request.headers, layered)
        return [SNIPPETS[way](said) for way in self._ways]


def _snippet(way: str) -> gr.Textbox:
    with gr.Tab(way):
        # Not Gradio's component for code: its colours are too faint to read.
        return gr.Textbox(
            label=f"The request for {way}",
            lines=6,
            max_lines=24,
            interactive=False,
            buttons=["copy"],
            elem_classes="code",
        )


def _address(request: gr.Request) -> str:
    """Return the server's address as the browser knows it."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    prefix = request.headers.get("x-forwarded-prefix", "")
    return f"{scheme}://{request.headers['host']}{prefix}"
