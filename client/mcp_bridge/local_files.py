"""Files on the MCP bridge's machine: which of them an agent may send, and where results are saved.

An agent may follow instructions in what it reads, so the paths that it names are not trusted: only images and videos
are sent, and only from folders in JUBAKO_CLIENT_IMAGES or JUBAKO_CLIENT_FOLDER.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from ..calls import FILES, VIDEOS, download
from ..connection import AsyncConnection
from ..results import Job

FOLDER = "JUBAKO_CLIENT_FOLDER"
"""Where results are saved."""
IMAGES = "JUBAKO_CLIENT_IMAGES"
"""Further folders with images and videos, separated as in PATH."""
LONGEST_PATH = 4096
"""The longest path, in characters, of any system. Longer texts are a file's base64."""
SUFFIXES = {"image/jpeg": ".jpg"}
NO_IMAGES = "application/json"
UNREADABLE = (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError)
"""What Pillow raises for a file that is not an image, or an incomplete one."""
VIDEO_MARKS = ((4, b"ftyp"), (0, b"\x1aE\xdf\xa3"), (0, b"GIF8"))
"""Offsets and signatures of the formats that the server reads: MP4 and MOV, WebM, GIF."""


class NotAllowed(Exception):
    """A path that is not an image or a video in one of the folders."""


def with_files(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with the contents of the files that they name. Raises NotAllowed."""
    read = {name: _content(name, value) for name, value in arguments.items() if name in FILES}
    if isinstance(images := arguments.get("images"), list):
        read["images"] = [_content("images", each) for each in images]
    return {**arguments, **read}


async def saved(fields: Mapping[str, Any], files: AsyncConnection) -> list[Path]:
    """Save the full-size results of a job; return their paths.

    Raises OSError, Refused and Unreachable.
    """
    folder, results = os.environ.get(FOLDER), fields.get("results")
    if not folder or not results:
        return []
    await asyncio.to_thread(Path(folder).mkdir, parents=True, exist_ok=True)
    job = Job.of({"session_id": fields["job"], **fields})
    wanted = [each for each in job.results if each["media_type"] != NO_IMAGES]
    return [await _saved(job, number, about, Path(folder), files) for number, about in enumerate(wanted)]


async def _saved(job: Job, number: int, about: Mapping[str, Any], folder: Path, files: AsyncConnection) -> Path:
    result, media_type = await files.send(download(about, job.model)), about["media_type"]
    suffix = SUFFIXES.get(media_type, "." + media_type.partition("/")[2])
    return await asyncio.to_thread(result.save, folder / f"{job.id}_{number}{suffix}")


def _content(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    kind, read = ("a video", _video) if name in VIDEOS else ("an image", _image)
    if (path := _allowed_path(value)) is not None and (data := read(path)) is not None:
        return base64.b64encode(data).decode()
    if _means_a_path(value):
        # Does not reveal whether there is such a file.
        raise NotAllowed(f"{name}: {value} is not {kind} in a folder that {IMAGES} or {FOLDER} names")
    return value


def _allowed_path(value: str) -> Path | None:
    """Return the file that a text names, if it is in one of the folders once all links are followed."""
    if len(value) > LONGEST_PATH:
        return None
    try:
        path = Path(value).expanduser().resolve()
        is_file = any(path.is_relative_to(folder) for folder in _folders()) and path.is_file()
    except (OSError, RuntimeError, ValueError):
        # Too long for a file name, as base64 is; an unknown user's home; a NUL.
        return None
    return path if is_file else None


def _folders() -> list[Path]:
    named = [*os.environ.get(IMAGES, "").split(os.pathsep), os.environ.get(FOLDER, "")]
    return [Path(each).expanduser().resolve() for each in named if each]


def _image(path: Path) -> bytes | None:
    """Return a file's bytes, if they are an image."""
    try:
        data = path.read_bytes()
        with Pillow.open(BytesIO(data)) as image:
            image.load()
    except UNREADABLE:
        return None
    return data


def _video(path: Path) -> bytes | None:
    """Return a file's bytes, if they begin like a video: nothing here can decode one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if any(data.startswith(mark, at) for at, mark in VIDEO_MARKS) else None


def _means_a_path(value: str) -> bool:
    """Whether a text must be a path: neither base64, nor a data URL, nor the id of a job."""
    return len(value) <= LONGEST_PATH and not value.startswith("data:") and ("." in value or value.startswith("~"))
