"""What a story is broken into, and what does so. Knows no HTTP, torch or language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from models.catalogue.entry import Entry

MIN_FRAMES, MAX_FRAMES = 6, 10
GIVEN = "given"
"""The planner's name where the caller has planned."""


@dataclass(frozen=True)
class Scene:
    """One frame to generate."""

    number: int
    """1 is the first."""
    prompt: str
    """What the model is asked for, in words it knows, and what the picture is compared with."""
    caption: str
    """The part of the story that it shows."""
    characters: tuple[str, ...] = ()
    """Those of the story's characters who are in it."""


@dataclass(frozen=True)
class Plan:
    planner: str
    """`builtin`, the name of the language model, or GIVEN."""
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class PlanRequest:
    story: str
    num_frames: int | None
    """Scenes wanted, `MIN_FRAMES` to `MAX_FRAMES`; None leaves it to the planner."""
    temperature: float
    """0 to 1; planners that do not sample ignore it."""
    seed: int
    entry: Entry
    """The model that will generate: its vocabulary, if it has one, bounds what prompts may say."""
    trigger: str = ""
    """Words that call the character's LoRA up; every prompt begins with them."""
    characters: tuple[str, ...] = ()
    """Names by which prompts should call the characters."""


class Planner(Protocol):
    async def plan(self, request: PlanRequest) -> Plan:
        """Return as many scenes as were wanted; equal requests to a planner that does not sample give equal plans.

        Raises PlanningFailed.
        """
