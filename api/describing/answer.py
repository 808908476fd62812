"""The base of what answers and events are described by."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Its fields may begin with `model_`."""

    model_config = ConfigDict(protected_namespaces=())
