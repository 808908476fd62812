"""Server-sent events, as all our streams write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def event_text(name: str, data: Mapping[str, Any]) -> str:
    """Return one event as it goes over the wire; JSON has no line breaks, which would end it early."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
