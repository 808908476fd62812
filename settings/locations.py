"""Storage locations as operators write them. Every process imports this, so it needs no storage library."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

SCHEMES = ("file", "s3", "gs", "az")


def location_url(text: str) -> str:
    """Return a path or URL as a URL. Raises ValueError for unsupported schemes."""
    if "://" not in text:
        return Path(text).expanduser().absolute().as_uri()
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"{parts.scheme}:// is not one of " + ", ".join(f"{scheme}://" for scheme in SCHEMES))
    if parts.scheme == "file" and parts.netloc:
        raise ValueError("file:// takes a whole path: file:///data/jubako, with three slashes")
    if parts.scheme != "file" and not parts.netloc:
        raise ValueError(f"name a bucket: {parts.scheme}://bucket/folder")
    return text.rstrip("/")


def local_folder(url: str) -> Path | None:
    """Return the local folder of a location; None for one in a cloud."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
