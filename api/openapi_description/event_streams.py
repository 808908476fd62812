"""Streams of server-sent events, as OpenAPI 3.1 can describe them: as text, and a schema for the data of each event."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from api.openapi_description.bodies import REF

EVENT_STREAM = "text/event-stream"
EVENTS = "x-events"


def described_events(**events: type[BaseModel]) -> dict[str, Any]:
    """Return the content of a response that is a stream; `events` has the model of each event's data, by its name."""
    schemas = {name: model.model_json_schema(ref_template=REF) for name, model in events.items()}
    listed = "\n".join(f"- `{name}`: {model.__name__}" for name, model in events.items())
    return {
        EVENT_STREAM: {
            "schema": {"type": "string", "description": f"Server-sent events; the data of each is JSON:\n\n{listed}"},
            EVENTS: {name: {**schema, "title": events[name].__name__} for name, schema in schemas.items()},
        }
    }
