"""What all tabs of the page share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from client.results import Model
from ui.reuse import Requests, Reuse
from ui.server import Server

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of all events: the stage says how far it is, and programs have the API."""
STATES = {"ready": "ready", "unloaded": "loaded on demand"}
"""How the states of models are said; all others are plain enough."""


@dataclass
class Page:
    """The page while its tabs are being laid out."""

    server: Server
    models: gr.State
    """What `GET /models` says, as a list of dictionaries; changes when the page is opened, and with them."""
    tabs: gr.Tabs
    tab: gr.Tab = field(init=False)
    """The one that is being laid out."""
    requests: Requests = field(default_factory=Requests)
    reuses: list[Reuse] = field(default_factory=list)
    """Where requests from the gallery go, as the tabs say that take them."""
    opened: list[tuple[Callable[..., Sequence[Any]], Sequence[Any]]] = field(default_factory=list)
    """What is done with the models once they are known: a function of them, and the components that it updates."""

    def when_opened(self, act: Callable[..., Sequence[Any]], outputs: Sequence[Any]) -> None:
        """Have components follow from the models that are served."""
        self.opened.append((act, outputs))

    @property
    def following(self) -> list[Any]:
        """The components that follow from the models."""
        return [each for _, outputs in self.opened for each in outputs]

    def follow(self, models: list[dict[str, Any]]) -> dict[Any, Any]:
        """Return what the models make of these components."""
        return {
            component: update
            for act, outputs in self.opened
            for component, update in zip(outputs, act(models), strict=True)
        }

    def keep_states(self, model: gr.Dropdown, *tasks: str) -> None:
        """Have a menu of the models that do one of the tasks say their states as they change; its choice stays."""
        self.models.change(
            lambda models: gr.Dropdown(choices=choices(able(models, *tasks))), self.models, model, **QUIET
        )


def able(models: Sequence[dict[str, Any]], *tasks: str) -> list[Model]:
    """Return the models that do one of the tasks, in the server's order."""
    return [Model.of(each) for each in models if not set(tasks).isdisjoint(each["tasks"])]


def choices(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Return models as the choices of a dropdown: with their states, by their ids."""
    return [(f"{model.id} ({_state_of(model)})", model.id) for model in models]


def _state_of(model: Model) -> str:
    progress = model.fields.get("progress")
    share = f", {progress:.0%}" if model.state == "loading" and progress is not None else ""
    return STATES.get(model.state, model.state) + share


def chosen(models: Sequence[dict[str, Any]], model_id: str | None) -> Model | None:
    """Return a model by its id."""
    return next((Model.of(each) for each in models if each["id"] == model_id), None)


def earlier_or_first(models: Sequence[Model], model_id: str | None) -> Model | None:
    """Return the model that an earlier request had, or the first where it is not among them."""
    return next((model for model in models if model.id == model_id), models[0] if models else None)
