"""The operator's folder of LoRAs, `<model id>/<file>.safetensors`, which is read again whenever it has changed.

Unusable files are skipped with a note.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from models.catalogue.addons import LoraSpec
from models.catalogue.entry import Entry
from models.catalogue.families.videos.wan import LOW_NOISE_TRANSFORMER
from models.catalogue.sources import Source

UNCERTAIN_NS = 50_000_000
"""How far a file system's timestamp of a folder's last change may be off."""
LOW_NOISE = re.compile(r"low[-_ ]?noise", re.IGNORECASE)
"""Marks, in file names, LoRAs for Wan 2.2's second denoiser."""
MAX_NAME_CHARS = 80


def readable_name(name: str) -> str:
    """Return the name for requests: lower-case letters, digits, '.', '_' and '-'; empty if none are left."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:MAX_NAME_CHARS].strip("._-")


@dataclass(frozen=True)
class Found:
    """What was in the folder."""

    loras: defaultdict[str, dict[str, LoraSpec]] = field(default_factory=lambda: defaultdict(dict))
    """By model and by name."""
    notes: list[str] = field(default_factory=list)
    """What was skipped, and why."""


class LoraFolder:
    """Usable from any thread. Checking for changes takes some microseconds for each model's folder."""

    def __init__(self, folder: Path, find: Callable[[str], Entry | None]) -> None:
        """`find` returns the entry that a folder's name refers to, or None."""
        self._folder = folder
        self._find = find
        self._seen: Mapping[Path, int] | None = None
        self._read_at_ns = 0
        self._found = Found()
        self._lock = Lock()

    def of(self, model: str) -> Mapping[str, LoraSpec]:
        """Return the LoRAs that the folder has now for a model, given its id."""
        return self._current().loras[model]

    @property
    def notes(self) -> list[str]:
        return self._current().notes

    def place_for(self, model: str, name: str) -> Path:
        """Return where a new file belongs."""
        return self._folder / model / f"{name}.safetensors"

    def _current(self) -> Found:
        with self._lock:
            changed = self._changed_at_ns()
            # A folder that changed just before it was read may have changed again since, with the same timestamp.
            settled = max(changed.values(), default=0) + UNCERTAIN_NS < self._read_at_ns
            if changed != self._seen or not settled:
                self._seen, self._read_at_ns = changed, time.time_ns()
                self._found = self._read()
            return self._found

    def _changed_at_ns(self) -> dict[Path, int]:
        if not self._folder.is_dir():
            return {}
        places = [self._folder, *(place for place in self._folder.iterdir() if place.is_dir())]
        return {place: place.stat().st_mtime_ns for place in places}

    def _read(self) -> Found:
        found = Found()
        for place in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if not place.is_dir():
                if place.suffix == ".safetensors":
                    found.notes.append(f"{place} is skipped: move it into a folder with the id of its model")
            elif (entry := self._find(place.name)) is None:
                if any(place.glob("*.safetensors")):
                    found.notes.append(f"{place} is skipped: the catalogue has no model {place.name!r}")
            else:
                for file in sorted(place.glob("*.safetensors")):
                    _add(found, entry, file)
        return found


def _add(found: Found, entry: Entry, file: Path) -> None:
    name = readable_name(file.stem)
    if not name:
        found.notes.append(f"{file} is skipped: a name needs letters or digits from a to z and 0 to 9")
    elif name in entry.loras:
        found.notes.append(f"{file} is skipped: the catalogue has a LoRA of this name already")
    elif name in found.loras[entry.id]:
        found.notes.append(f"{file} is skipped: another file is called {name} already")
    else:
        has_second = LOW_NOISE_TRANSFORMER in entry.family_spec.parts
        component = LOW_NOISE_TRANSFORMER.component if has_second and LOW_NOISE.search(file.stem) else None
        spec = LoraSpec.model_validate({"source": Source(path=file.resolve()), "component": component})
        found.loras[entry.id][name] = spec
