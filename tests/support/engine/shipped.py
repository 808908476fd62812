"""Models of the shipped catalogue over tiny checkpoints of their own families, under their own ids and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from models.catalogue.catalogue import SHIPPED
from tests.support.servers.serving import CATALOGUE, DEFAULTS, LIMITS

Save = Callable[[Path], Path]


def write_shipped(folder: Path, models: Mapping[str, Save], **changes: Any) -> Path:
    """Write a catalogue of these models, by their ids; return its file. Sizes and steps are the tests' own."""
    shipped = {model: fields for file in SHIPPED for model, fields in yaml.safe_load(file.read_text("utf-8")).items()}
    entries = {}
    for model, save in models.items():
        fields = shipped[model]
        entries[model] = {
            **{name: value for name, value in fields.items() if name not in ("loras", "gated")},
            "source": {"path": str(save(folder / model))},
            "dtype": "float32",
            "defaults": {**fields["defaults"], "width": DEFAULTS["width"], "height": DEFAULTS["height"]},
            "limits": {**LIMITS, **_own(fields["limits"])},
            "memory_gib": 0.1,
            "batch_tokens": 1024,
            "preview": {"weight": [[0.25, 0.25, 0.25]] * 4},
            **changes,
        }
    file = folder / CATALOGUE
    file.write_text(yaml.safe_dump(entries), "utf-8")
    return file


def _own(limits: dict[str, Any]) -> dict[str, Any]:
    """What clients notice of a model's limits, but for sizes."""
    return {name: limits[name] for name in ("guidance_scale", "max_images", "multiple_px") if name in limits}
