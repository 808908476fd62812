"""What an operator may write in place of a model's name, and what it means."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.catalogue.single_files import CHECKPOINTS, without_ending
from models.catalogue.sources import Source

NAMELESS = ("model", "diffusion_pytorch_model", "pytorch_model", "unet", "transformer")
"""Names of files and folders that say nothing, so that the name of the parent is used."""
HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
HUB = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/\w+/[^/@]+|[^/@]+))?"
    r"(?:/(?P<inside>[^@]+))?"
    r"(?:@(?P<last>[^@]+))?"
)
"""A repository, its revision, and a path inside of it; the revision may also come last."""
PAGE = re.compile(r"/(?P<repo>[^/]+/[^/]+)(?:/(?:blob|resolve|tree)/(?P<revision>[^/]+)(?:/(?P<inside>.+))?)?/?")
"""The path of a page of the hub."""


@dataclass(frozen=True)
class Pointer:
    """A model to serve that is not in the catalogue."""

    text: str
    """As the operator wrote it."""
    source: Source | None
    """Where its weights are; None for an address, which must be downloaded first."""
    url: str | None = None

    @property
    def name(self) -> str:
        """What people call it: the name of the repository, folder or file."""
        source = self.source
        if source is None:
            return _last_part(urlsplit(str(self.url)).path)
        parts = filter(None, (str(source.path or source.repo), source.subfolder, source.file))
        names = [name for part in parts for name in Path(part).parts]
        return names[-2] if without_ending(names[-1]) in NAMELESS and len(names) > 1 else names[-1]


def pointer(text: str) -> Pointer | None:
    """Return what a text points at; None for one that can only be a name."""
    if text.lower().startswith(("http://", "https://")):
        return _address(text, text)
    if text.startswith(tuple(f"{host}/" for host in HUB_HOSTS)):
        return _address(text, f"https://{text}")
    if (path := _local(text)) is not None:
        return Pointer(text, Source(path=path))
    found = HUB.fullmatch(text.rstrip("/"))
    if found is None or (found["revision"] and found["last"]):
        return None
    return Pointer(text, _on_the_hub(found["repo"], found["revision"] or found["last"], found["inside"]))


def _address(text: str, url: str) -> Pointer:
    parts = urlsplit(url)
    page = PAGE.fullmatch(unquote(parts.path))
    if parts.hostname in HUB_HOSTS and page is not None:
        return Pointer(text, _on_the_hub(page["repo"], page["revision"], page["inside"]))
    return Pointer(text, None, url)


def _on_the_hub(repo: str, revision: str | None, inside: str | None) -> Source:
    revision = None if revision == "main" else revision
    if inside is None:
        return Source(repo=repo, revision=revision)
    if inside.endswith(CHECKPOINTS):
        return Source(repo=repo, revision=revision, file=inside)
    return Source(repo=repo, revision=revision, subfolder=inside)


def _local(text: str) -> Path | None:
    """Return the path that a text means, or None; what could be a repository is a path only if it exists."""
    # Not `resolve`, which would follow the operator's links; without `..` the path has a name.
    path = Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111
    folders = text.rstrip("/").count("/")
    if text.startswith((".", "/", "~")) or (folders < 2 and text.endswith(CHECKPOINTS)):
        return path
    if (folders == 0 and (path / "model_index.json").is_file()) or (folders > 0 and path.exists()):
        return path
    return None


def _last_part(path: str) -> str:
    return unquote(path.rstrip("/").rpartition("/")[2])
