"""What all tabs of the page share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from client.results import Model
from ui.server import Server

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of all events: the stage says how far it is, and programs have the API."""
STATES = {"ready": "ready", "unloaded": "loaded on demand"}
"""How the states of models are said; all others are plain enough."""


@dataclass(frozen=True)
class Reuse:
    """How a tab takes a request that was made before."""

    outputs: Sequence[Any]
    """The components that `fill` fills."""
    fill: Callable[[Sequence[dict[str, Any]], dict[str, Any], bool], dict[Any, Any]]
    """Of the models, the request's parameters, and whether its seed is kept."""
    draw: Callable[[Any], Any]
    """Draws after an event."""


@dataclass
class Page:
    """The page while its tabs are being laid out."""

    server: Server
    models: gr.State
    """What `GET /models` says, as a list of dictionaries; changes when the page is opened."""
    tabs: gr.Tabs
    tab: gr.Tab = field(init=False)
    """The one that is being laid out."""
    reuse: Reuse | None = None
    """Where requests from the gallery go; set by the tab that takes them."""
    opened: list[tuple[Callable[..., Any], Sequence[Any]]] = field(default_factory=list)
    """What is done with the models once they are known: a function of them, and the components that it updates."""

    def when_opened(self, act: Callable[..., Any], outputs: Sequence[Any]) -> None:
        """Have components follow from the models that are served."""
        self.opened.append((act, outputs))


def able(models: Sequence[dict[str, Any]], *tasks: str) -> list[Model]:
    """Return the models that do one of the tasks, in the server's order."""
    return [Model.of(each) for each in models if not set(tasks).isdisjoint(each["tasks"])]


def choices(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Return models as the choices of a dropdown: with their states, by their ids."""
    return [(f"{model.id} ({STATES.get(model.state, model.state)})", model.id) for model in models]


def chosen(models: Sequence[dict[str, Any]], model_id: str | None) -> Model | None:
    """Return a model by its id."""
    return next((Model.of(each) for each in models if each["id"] == model_id), None)
