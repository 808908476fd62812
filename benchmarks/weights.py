"""The measured model's weights, in the plain pipelines of diffusers."""

from __future__ import annotations

from core.generation.request import Task
from models.catalogue.entry import Entry
from models.weights.loading import LoadedModel, load, one_thread
from runners.engine.views.samplers import make_scheduler
from settings import settings


def load_plain(entry: Entry) -> LoadedModel:
    """Load plain diffusers pipelines that all use the entry's default sampler."""
    model = load(entry, settings().first_device)
    spec = entry.family_spec.schedulers[entry.defaults.scheduler]
    config = model.pipelines[Task.TEXT_TO_IMAGE].scheduler.config
    # Otherwise loading gives this thread an OpenMP team, in addition to that of the thread that will generate.
    with one_thread():
        sampler = make_scheduler(spec, config)
    for pipeline in model.pipelines.values():
        pipeline.scheduler = sampler
    return model
