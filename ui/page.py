"""What all tabs of the page share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from client.results import Model
from ui.reuse import Requests, Reuse
from ui.server import ServerClients

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Options of all events: the stage shows progress, and programs use the API instead."""
STATES = {"ready": "ready", "unloaded": "loaded on demand"}
"""Texts for the states of models; others are shown unchanged."""


@dataclass
class PageLayout:
    """The page while its tabs are being laid out."""

    server: ServerClients
    models: gr.State
    """The answer of `GET /models`, a list of dictionaries; set when the page is opened, and whenever it changes."""
    tabs: gr.Tabs
    tab: gr.Tab = field(init=False)
    """The tab that is being laid out."""
    requests: Requests = field(default_factory=Requests)
    reuses: list[Reuse] = field(default_factory=list)
    """How tabs take requests from the gallery; each tab adds its own."""
    opened: list[tuple[Callable[..., Sequence[Any]], Sequence[Any]]] = field(default_factory=list)
    """Functions of the models, called once they are known, each with the components that it updates."""

    def when_opened(self, act: Callable[..., Sequence[Any]], outputs: Sequence[Any]) -> None:
        """Have `act` update components once the served models are known."""
        self.opened.append((act, outputs))

    @property
    def following(self) -> list[Any]:
        """The components that depend on the served models."""
        return [each for _, outputs in self.opened for each in outputs]

    def follow(self, models: list[dict[str, Any]]) -> dict[Any, Any]:
        """Return the updates of these components for the models."""
        return {
            component: update
            for act, outputs in self.opened
            for component, update in zip(outputs, act(models), strict=True)
        }

    def keep_states(self, model: gr.Dropdown, *tasks: str) -> None:
        """Keep the states in a menu of models, those that do one of the tasks, up to date; its choice stays."""
        self.models.change(
            lambda models: gr.Dropdown(choices=choices(able(models, *tasks))), self.models, model, **QUIET
        )


def able(models: Sequence[dict[str, Any]], *tasks: str) -> list[Model]:
    """Return the models that do one of the tasks, in the server's order."""
    return [Model.of(each) for each in models if not set(tasks).isdisjoint(each["tasks"])]


def choices(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Return models as choices of a dropdown: shown with their states, identified by their ids."""
    return [(f"{model.id} ({_state_of(model)})", model.id) for model in models]


def _state_of(model: Model) -> str:
    progress = model.fields.get("progress")
    share = f", {progress:.0%}" if model.state == "loading" and progress is not None else ""
    return STATES.get(model.state, model.state) + share


def chosen(models: Sequence[dict[str, Any]], model_id: str | None) -> Model | None:
    """Return a model by its id."""
    return next((Model.of(each) for each in models if each["id"] == model_id), None)


def earlier_or_first(models: Sequence[Model], model_id: str | None) -> Model | None:
    """Return an earlier request's model, or the first if it is not among these."""
    return next((model for model in models if model.id == model_id), models[0] if models else None)
