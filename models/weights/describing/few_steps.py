"""Recognises checkpoints distilled to few steps, by their name or their scheduler's configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.weights.describing.checkpoint_facts import CheckpointFacts

STEPS = {"lcm": 4, "turbo": 4, "lightning": 4, "hyper": 8, "schnell": 4, "tcd": 4, "dmd": 4, "dmd2": 4, "distilled": 8}
"""By kind of distillation: the steps that model cards recommend, unless the name says another number."""
KIND = re.compile(rf"(?<![a-z])({'|'.join(sorted(STEPS, key=len, reverse=True))})(?![a-z])")
COUNT = re.compile(r"(\d+)[-_ ]?steps?(?![a-z])")
SCHEDULERS = {"LCMScheduler": "lcm", "TCDScheduler": "tcd"}
MOST_STEPS = 50
"""The most steps that a name can say: before the word "steps" there may be any number."""


@dataclass(frozen=True)
class FewSteps:
    kind: str
    steps: int
    exact: bool
    """Whether the number comes from the name."""


def few_steps(look: CheckpointFacts) -> FewSteps | None:
    """Return the few steps that a checkpoint was distilled to; None for one that takes as many as its family."""
    if look.distilled is False:
        return None
    name = look.name.lower()
    found = KIND.search(name)
    kind = SCHEDULERS.get(str(look.sampler.get("_class_name")), found[1] if found else "")
    kind = kind or ("lcm" if look.guided_by_input else "")
    # "Distilled" may also mean smaller; only for video models does it mean few steps.
    if not kind or (kind == "distilled" and not look.family.startswith("ltx")):
        return None
    count = COUNT.search(name)
    if count is not None and 1 <= int(count[1]) <= MOST_STEPS:
        return FewSteps(kind, int(count[1]), exact=True)
    return FewSteps(kind, STEPS[kind], exact=False)
