"""The operator's folder of LoRAs: `<model id>/<name>.safetensors`. What cannot be used is skipped, and named."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.validation import NAME_PATTERN
from models.catalogue.addons import LoraSpec
from models.catalogue.entry import Entry
from models.catalogue.sources import Source


@dataclass(frozen=True)
class LoraFolder:
    """What was found."""

    loras: defaultdict[str, dict[str, LoraSpec]] = field(default_factory=lambda: defaultdict(dict))
    """By model and by name."""
    notes: list[str] = field(default_factory=list)
    """What was skipped, and why."""


def read_lora_folder(folder: Path, find: Callable[[str], Entry | None]) -> LoraFolder:
    """Read a folder; `find` returns the entry that a name means, or None."""
    found = LoraFolder()
    for place in sorted(folder.iterdir()):
        if not place.is_dir():
            if place.suffix == ".safetensors":
                found.notes.append(f"{place} is skipped: move it into a folder with the id of its model")
        elif (entry := find(place.name)) is None:
            if any(place.glob("*.safetensors")):
                found.notes.append(f"{place} is skipped: the catalogue has no model {place.name!r}")
        else:
            for file in sorted(place.glob("*.safetensors")):
                _add(found, entry, file)
    return found


def _add(found: LoraFolder, entry: Entry, file: Path) -> None:
    if reasons := list(_reasons(file.stem, {*entry.loras, *found.loras[entry.id]})):
        found.notes.append(f"{file} is skipped: {reasons[0]}")
    else:
        found.loras[entry.id][file.stem] = LoraSpec(source=Source(path=file.resolve()))


def _reasons(name: str, taken: set[str]) -> Iterator[str]:
    if not re.fullmatch(NAME_PATTERN, name):
        fitting = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")
        advice = f"; call it {fitting}.safetensors" if fitting else ""
        yield f"a LoRA's name has lower-case letters, digits, '.', '_' and '-' only{advice}"
    if name in taken:
        yield "the catalogue has a LoRA of this name already"
