"""The measured model: one catalogue entry, which every server finds through Jubako's settings."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from core.request import Task
from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.sources import Source
from models.weights.loading import LoadedModel, load
from runners.engine.views.samplers import make_scheduler
from settings import settings

REPOSITORY = Path(__file__).parent.parent
SCRATCH = REPOSITORY / "benchmarks" / "scratch"
DEFAULT_MODEL = "miniature"


def write_catalogue(checkpoint: Path) -> Path:
    """Write a catalogue whose only entry is the default one with the weights from another folder."""
    entry = full_catalogue(None).get(DEFAULT_MODEL)
    changes = {"source": Source(path=checkpoint.resolve()), "vocabulary": None, "preview": None}
    fields = entry.model_copy(update=changes).model_dump(mode="json", exclude={"id"}, exclude_none=True)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    file = SCRATCH / "catalogue.yaml"
    file.write_text(yaml.safe_dump({DEFAULT_MODEL: fields}), encoding="utf-8")
    return file


def server_environment(checkpoint: Path | None, device: str, threads: int) -> dict[str, str]:
    """Return the environment for every server."""
    ours = {
        "JUBAKO_MODELS": DEFAULT_MODEL,
        "JUBAKO_CATALOGUE": str(write_catalogue(checkpoint)) if checkpoint else "",
        "JUBAKO_DEVICE": device,
        "OMP_NUM_THREADS": str(threads),
        "BENTOML_DO_NOT_TRACK": "True",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return {**os.environ, **ours}


def measured_entry() -> Entry:
    """Return the entry that the settings of this process name."""
    return full_catalogue(settings().catalogue).get(settings().models[0])


def load_plain(entry: Entry) -> LoadedModel:
    """Load plain diffusers pipelines that all use the entry's default sampler."""
    model = load(entry, settings().device)
    sampler = make_scheduler(
        entry.family_spec.schedulers[entry.defaults.scheduler], model.pipelines[Task.TEXT_TO_IMAGE].scheduler.config
    )
    for pipeline in model.pipelines.values():
        pipeline.scheduler = sampler
    return model
