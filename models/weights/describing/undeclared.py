"""Pipelines that no family declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import LoadFailed


def undeclared_fields(folder: Path, pipeline: str) -> dict[str, Any]:
    """Return `family`, `pipeline`, `tasks`, `defaults` and `limits` of an entry for a pipeline of any class.

    `folder` has its model_index.json and the configurations of its components; weights need not be there. Raises
    LoadFailed with what to do.
    """
    raise LoadFailed(f"{pipeline} is no pipeline that a family has; {folder.name} cannot be served")
