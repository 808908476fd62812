"""Pictures as callers have them, read to bytes, and results written where the site looks for them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Union

from PIL import Image

ImageSource = Union[str, "os.PathLike[str]", bytes, IO[bytes], Image.Image]
"""A file's name, its bytes, something open (such as a Django file), or a picture."""


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
    """Return `job_<id>/outputs` under the root, made if need be. Raises ValueError for an id that is no plain name."""
    if not re.fullmatch(r"[\w-]+", str(job_id)):
        raise ValueError(f"job_id: {job_id!r} has other characters than letters, digits, '_' and '-'")
    folder = Path(jobs_root) / f"job_{job_id}" / "outputs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_all(folder: Path, files: Sequence[tuple[str, bytes]]) -> list[Path]:
    """Write files so that a reader sees all of each or nothing; names are taken without their folders."""
    paths = [folder / Path(name).name for name, _ in files]
    for path, (_, data) in zip(paths, files):  # noqa: B905 - equal by construction, and `strict` is too new for sites
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(path)
    return paths
