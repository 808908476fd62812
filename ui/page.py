"""What all tabs of the page share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from client.results import Model
from ui.server import Server

STATES = {"ready": "ready", "unloaded": "loaded on demand"}
"""How the states of models are said; all others are plain enough."""


@dataclass
class Page:
    """The page while its tabs are being laid out."""

    server: Server
    models: gr.State
    """What `GET /models` says, as a list of dictionaries; changes when the page is opened."""
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
