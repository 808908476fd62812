"""The result of testing which modules of a model that no family declares may share passes.

The test (`runners.certifying`) needs the loaded model; its result is kept, and can be shown without loading.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from core.validation import Strict
from models.catalogue.entry import Entry
from models.catalogue.families.base import CallStage, Part
from models.catalogue.file_changes import write_whole

ENCODED_PIXELS = 64
"""Pixels of an image to one latent token, for the autoencoder that most models have."""


class ModuleSharing(Strict):
    """The result for one method of one of the pipeline's components."""

    component: str
    method: str = "forward"
    stage: CallStage
    together: bool
    """Whether calls of different requests share passes; if not, each has one of its own."""
    reason: str = ""
    """Why they do not."""
    shared: frozenset[str] = frozenset()
    """Arguments that apply to a whole pass, and so have to be equal."""
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
    """The result for a model; the test is repeated when `tested_with` changes."""

    tested_with: dict[str, str]
    """The versions of packages, the weights' files, and the precision that the result depends on."""
    alternates: bool
    """Whether requests can be interleaved at all; if not, images are generated one after the other."""
    reason: str = ""
    """Why they cannot."""
    modules: tuple[ModuleSharing, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts for the engine to batch; none if the model does not alternate."""
        return tuple(module.part for module in self.modules) if self.alternates else ()

    @property
    def summary(self) -> dict[str, str]:
        """Say of each module what was found, for people."""
        if not self.alternates:
            return {"all": f"one image after the other: {self.reason}"}
        return {each.name: "shared" if each.together else f"call by call: {each.reason}" for each in self.modules}


def sharing_file(folder: Path, entry: Entry) -> Path:
    """Return a model's file. Its id is not enough: another server with this folder may give it to another model."""
    place = hashlib.sha256(entry.source.model_dump_json().encode()).hexdigest()[:8]
    return folder / f"{entry.id}-{place}.json"


def read_sharing(file: Path, tested_with: dict[str, str] | None = None) -> Sharing | None:
    """Return the kept result, if it was found with `tested_with`, unless that is None; otherwise None."""
    try:
        found = Sharing.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return found if tested_with in (None, found.tested_with) else None


def keep_sharing(file: Path, found: Sharing) -> None:
    """Keep a result for later starts. Raises OSError."""
    write_whole(file, found.model_dump_json(indent=2))
