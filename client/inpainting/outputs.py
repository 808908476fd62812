"""Writes results where a web site expects them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def outputs_folder(jobs_root: str, job_id: int | str) -> Path:
    """Return `job_<id>/outputs` under the root, created if missing. Raises ValueError for an id unfit for a name."""
    if not re.fullmatch(r"[\w-]+", str(job_id)):
        raise ValueError(f"job_id: {job_id!r} may only have letters, digits, '_' and '-'")
    folder = Path(jobs_root) / f"job_{job_id}" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_all(folder: Path, files: Sequence[tuple[str, bytes]]) -> list[Path]:
    """Write each file atomically; folders in names are ignored."""
    paths = [folder / Path(name).name for name, _ in files]
    for path, (_, data) in zip(paths, files):  # noqa: B905 - equal by construction, and `strict` is too new for sites
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(path)
    return paths
