"""The base class of models that describe answers and events."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Its fields may begin with `model_`."""

    model_config = ConfigDict(protected_namespaces=())
