"""The planner that needs no language model: deterministic, offline and fast.

It finds beats, cast and places (`beats`, `cast`), arranges them (`arc`), and writes prompts in free words, or for a
model with a small vocabulary in its words (`vocabulary_prompts`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from storyboard.planning.arc import Moment, arc_of
from storyboard.planning.beats import beats_of, cleaned
from storyboard.planning.cast import cast_of
from storyboard.planning.vocabulary import vocabulary_of
from storyboard.planning.vocabulary_prompts import VocabularyPrompts
from storyboard.scenes import MAX_FRAMES, MIN_FRAMES, Plan, PlanRequest, Scene

NAME = "builtin"
VIEWS = ("front-facing", "from the side", "three-quarter view", "from behind", "low angle", "high angle")
NOTHING_SAID = "an untold story"
"""Planned in place of stories whose text has no visible character."""


class BuiltinPlanner:
    """A `storyboard.scenes.Planner`: equal stories, counts and seeds give equal plans."""

    async def plan(self, request: PlanRequest) -> Plan:
        return Plan(NAME, tuple(scenes_of(request)))


def scenes_of(request: PlanRequest) -> list[Scene]:
    """Break a story into scenes; no two have the same prompt."""
    story = cleaned(request.story) or NOTHING_SAID
    rng = random.Random(f"{request.seed} {story}")
    beats = beats_of(story) or [story]
    count = request.num_frames or min(max(len(beats), MIN_FRAMES), MAX_FRAMES)
    cast = cast_of(story)
    moments = arc_of(beats, count, cast, rng)
    vocabulary = vocabulary_of(request.entry)
    if vocabulary is None:
        prompts = _in_free_words(moments, request.trigger, rng)
    else:
        prompts = VocabularyPrompts(vocabulary, cast.hero, story, request.trigger).prompts(moments, rng)
    return [
        Scene(number, prompt, moment.caption)
        for number, (prompt, moment) in enumerate(zip(prompts, moments, strict=True), 1)
    ]


def _in_free_words(moments: Sequence[Moment], trigger: str, rng: random.Random) -> list[str]:
    """Return a prompt for each moment: who does what and where, the shot, and the view."""
    views = [VIEWS[0], *rng.sample(VIEWS[1:], len(VIEWS) - 1)]
    seen: set[tuple[str, str]] = set()
    prompts = []
    for at, moment in enumerate(moments):
        # There are more pairs of shot and view than frames.
        view = next(view for view in views[at % len(views) :] + views if (moment.shot, view) not in seen)
        seen.add((moment.shot, view))
        what = f"{moment.action} {moment.place}".strip()
        prompts.append(", ".join(filter(None, (trigger, what, moment.shot, view))))
    return prompts
