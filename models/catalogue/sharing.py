"""What a test has shown of the modules of a model that no family declares: which of them may share passes.

The test (`runners.certifying`) needs the loaded model; what it found is kept, and shown without it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from core.validation import Strict
from models.catalogue.entry import Entry
from models.catalogue.families.base import Part, Stage
from models.catalogue.local_files import write_whole

ENCODED_PIXELS = 64
"""Of an image, to the latent token of the autoencoder that most models have."""


class ModuleSharing(Strict):
    """Of one method of one of the pipeline's components."""

    component: str
    method: str = "forward"
    stage: Stage
    together: bool
    """Whether calls of different requests share passes; if not, each has one of its own."""
    reason: str = ""
    """Why they do not."""
    shared: frozenset[str] = frozenset()
    """Arguments that hold for a whole pass, and so have to be equal."""
    memoised: bool = False
    casts: bool = False

    @property
    def part(self) -> Part:
        return Part(
            self.component,
            self.stage,
            self.method,
            shared=self.shared,
            apart=not self.together,
            memoised=self.memoised,
            casts=self.casts,
            pixels_per_token=ENCODED_PIXELS if self.method == "encode" else 1,
        )

    @property
    def name(self) -> str:
        return self.component if self.method == "forward" else f"{self.component}.{self.method}"


class Sharing(Strict):
    """Found once for each model, and again when what it was found with changes."""

    tested_with: dict[str, str]
    """The versions of what took part, the weights and their files, and what they were computed in."""
    alternates: bool
    """Whether requests may be generated in turns at all; if not, one image follows the other."""
    reason: str = ""
    """Why they may not."""
    modules: tuple[ModuleSharing, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the engine batches; of a model that does not alternate, nothing."""
        return tuple(module.part for module in self.modules) if self.alternates else ()

    @property
    def summary(self) -> dict[str, str]:
        """Say of each module what was found, for people."""
        if not self.alternates:
            return {"all": f"one image after the other: {self.reason}"}
        return {each.name: "shared" if each.together else f"call by call: {each.reason}" for each in self.modules}


def sharing_file(folder: Path, entry: Entry) -> Path:
    """Return where it is kept for a model. Its id does not suffice: servers of one folder may call others that."""
    place = hashlib.sha256(entry.source.model_dump_json().encode()).hexdigest()[:8]
    return folder / f"{entry.id}-{place}.json"


def read_sharing(file: Path, tested_with: dict[str, str] | None = None) -> Sharing | None:
    """Return what was found before, if it was found with these; None: with whatever it was."""
    try:
        found = Sharing.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return found if tested_with in (None, found.tested_with) else None


def keep_sharing(file: Path, found: Sharing) -> None:
    """Write it for later starts. Raises OSError."""
    write_whole(file, found.model_dump_json(indent=2))
