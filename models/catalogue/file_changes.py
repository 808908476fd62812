"""Local files: noticing changes, and writing atomically."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path


def stamps(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield names, sizes and times of a file, or of those in a folder and its subfolders; a change alters one."""
    for file in [path] if path.is_file() else sorted([*path.glob("*.*"), *path.glob("*/*.*")]):
        if file.is_file():
            yield str(file), file.stat().st_size, file.stat().st_mtime_ns


def write_whole(file: Path, text: str) -> None:
    """Write a file atomically, creating its folder if needed. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    begun.write_text(text, encoding="utf-8")
    begun.replace(file)
