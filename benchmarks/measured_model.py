"""The measured model: one catalogue entry, which every server finds through Jubako's settings. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.serving.served_models import served_catalogue
from models.catalogue.sources import Source
from settings import settings

REPOSITORY = Path(__file__).parent.parent
SCRATCH = REPOSITORY / "benchmarks" / "scratch"
DEFAULT_MODEL = "miniature"
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
}
"""Makes glibc keep freed memory instead of requesting it again for each pass. Jubako's runners do so themselves."""


def write_catalogue(checkpoint: Path) -> Path:
    """Write a catalogue whose only entry is the default one with the weights from another folder."""
    entry = full_catalogue(None).get(DEFAULT_MODEL)
    changes = {"source": Source(path=checkpoint.resolve()), "vocabulary": None, "preview": None}
    fields = entry.model_copy(update=changes).model_dump(mode="json", exclude={"id"}, exclude_none=True)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    file = SCRATCH / "catalogue.yaml"
    file.write_text(yaml.safe_dump({DEFAULT_MODEL: fields}), encoding="utf-8")
    return file


def copies_of_the_miniature(names: Sequence[str], limits: Mapping[str, int] | None = None) -> Path:
    """Write a catalogue with the default entry under several names, maybe with other limits."""
    entry = full_catalogue(None).get(DEFAULT_MODEL)
    fields = entry.model_dump(mode="json", exclude={"id"}, exclude_none=True, exclude_defaults=True)
    if limits:
        fields["limits"] |= limits
        fields.pop("tasks", None)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    file = SCRATCH / "copies.yaml"
    file.write_text(yaml.safe_dump(dict.fromkeys(names, fields)), encoding="utf-8")
    return file


def server_environment(checkpoint: Path | None, device: str, threads: int) -> dict[str, str]:
    """Return the environment of every process that generates; its files are in `scratch`."""
    ours = {
        "JUBAKO_MODELS": DEFAULT_MODEL,
        "JUBAKO_CATALOGUE": str(write_catalogue(checkpoint)) if checkpoint else "",
        "JUBAKO_DEVICE": device,
        "JUBAKO_STORAGE": str(SCRATCH / "storage"),
        "JUBAKO_JOBS_FILE": str(SCRATCH / "jobs.sqlite"),
        "BENTOML_HOME": str(SCRATCH / "bentoml"),
        "OMP_NUM_THREADS": str(threads),
        "BENTOML_DO_NOT_TRACK": "True",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**os.environ, **ours}


def measured_entry() -> Entry:
    """Return the entry that the settings of this process name."""
    return served_catalogue(settings()).default
