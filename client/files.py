"""Reads images from whatever form a site has them in, and writes results where the site expects them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image

FileSource = str | os.PathLike[str] | bytes | IO[bytes]
"""A file's path, its bytes, or an open file (such as Django's)."""
ImageSource = FileSource | Image.Image
"""The same, or a Pillow image."""


def read_image(source: ImageSource) -> bytes:
    """Return the bytes of an image file."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image.Image):
        buffer = BytesIO()
        source.save(buffer, "PNG")
        return buffer.getvalue()
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    return source.read()


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
