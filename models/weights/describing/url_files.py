"""Files from plain addresses, each downloaded once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._fixes import WeakFileLock

from core.errors import LoadFailed
from models.catalogue.sources import Source


def downloaded(url: str, folder: Path) -> Source:
    """Return the file of an address, downloading it the first time; an interrupted download is resumed.

    Shows size and progress. Raises LoadFailed.
    """
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    # Many addresses end in the same file name.
    file = folder / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(file.with_name("lock")):
            if not file.exists():
                _fetch(url, file)
    except (OSError, HfHubHTTPError, httpx2.HTTPError) as error:
        raise LoadFailed(f"it cannot be downloaded: {error}") from error
    return Source(path=file)


def _fetch(url: str, file: Path) -> None:
    begun = file.with_name(f"{file.name}.part")
    with begun.open("ab") as part:
        http_get(url, part, resume_size=part.tell(), displayed_filename=file.name)
    begun.replace(file)
