"""An entry as an operator would write it into a catalogue file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from models.catalogue.entry import Entry

LINE_COLUMNS = 120


def entry_yaml(entry: Entry) -> str:
    """Return the entry as YAML, without defaults; reading it gives the same entry."""
    fields = entry.model_dump(mode="json", exclude={"id", "tasks"}, exclude_defaults=True)
    tasks = {task.value: _own(settings.model_dump(mode="json"), entry) for task, settings in entry.tasks.items()}
    if any(tasks.values()) or set(entry.tasks) != set(entry.family_spec.pipelines):
        fields["tasks"] = tasks
    return yaml.safe_dump(
        {entry.id: fields}, sort_keys=False, default_flow_style=None, width=LINE_COLUMNS, allow_unicode=True
    )


def _own(settings: Mapping[str, Mapping[str, Any]], entry: Entry) -> dict[str, Any]:
    """Return a task's differences from the settings of all tasks."""
    common = {"defaults": entry.defaults.model_dump(mode="json"), "limits": entry.limits.model_dump(mode="json")}
    changed = {
        part: {name: value for name, value in settings[part].items() if value != common[part][name]} for part in common
    }
    return {part: values for part, values in changed.items() if values}
