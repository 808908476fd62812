"""Finds the shipped entry whose numbers a described checkpoint gets."""

from __future__ import annotations

from functools import cache

from models.catalogue.catalogue import SHIPPED, Catalogue, load_catalogue
from models.catalogue.entry import Entry
from models.weights.describing.checkpoint_facts import CheckpointFacts
from models.weights.describing.few_steps import FewSteps

FEW_STEPS = 10


@cache
def shipped() -> Catalogue:
    return load_catalogue(*SHIPPED)


def template(look: CheckpointFacts, weights_gib: float, few: FewSteps | None) -> Entry:
    """Return the shipped entry most like a checkpoint: distilled alike, of the same base, of similar size."""
    distilled = few is not None or look.distilled is True
    family = [entry for entry in shipped().entries.values() if entry.family == look.family and entry.source.repo]
    based_on = {_name(repo) for repo in (*look.card.based_on, *look.bases)}

    def distance(entry: Entry) -> tuple[bool, bool, bool, bool, float, float]:
        return (
            is_distilled(entry) != distilled,
            few is not None and few.kind not in entry.id,
            entry.low_noise_expert != (look.experts > 1),
            _name(str(entry.source.repo)) not in based_on,
            abs(entry.defaults.width - (look.native_px or entry.defaults.width)),
            abs(entry.memory_gib - weights_gib),
        )

    return min(family, key=distance)


def is_distilled(entry: Entry) -> bool:
    return entry.defaults.num_inference_steps <= FEW_STEPS


def _name(repo: str) -> str:
    """Return a repository's name without its owner, which mirrors share with the original."""
    return repo.rpartition("/")[2].lower()
