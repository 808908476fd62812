"""Makes ids from names of repositories, folders and files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import count

from models.catalogue.single_files import without_ending

LONGEST = 80
VERSION = re.compile(r"[-_ .](v\d+(\.\d+)*|\d+\.\d+(\.\d+)*)$", re.IGNORECASE)
"""Endings that are dropped unless another model has the same name without them."""
NAMELESS = "model"
"""The id for names without any characters that ids may have."""


def free_id(name: str, taken: Callable[[str], bool]) -> str:
    """Return a readable id that is not taken: `my-great-model` for `My Great_Model-v1.0.safetensors`."""
    return next(each for each in _candidates(name) if not taken(each))


def plain_id(name: str) -> str:
    """Return the id that a name gets if no other model wants it."""
    return next(_candidates(name))


def _candidates(name: str) -> Iterator[str]:
    stem = without_ending(name)
    short = _slug(VERSION.sub("", stem))
    yield short
    yield _slug(stem)
    yield from (f"{short}-{number}" for number in count(2))


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.")[:LONGEST].rstrip("-.") or NAMELESS
