"""Scenes, and the planners that break stories into them. Knows no HTTP, torch or language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from models.catalogue.entry import Entry

MIN_FRAMES, MAX_FRAMES = 6, 10
GIVEN = "given"
"""The planner's name if the caller has planned."""


@dataclass(frozen=True)
class Scene:
    """One frame to generate."""

    number: int
    """1 is the first."""
    prompt: str
    """The prompt, in words that the model knows; the picture is compared with it."""
    caption: str
    """The part of the story that the scene shows."""
    characters: tuple[str, ...] = ()
    """Names of the story's characters in the scene."""


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
    """The model that will generate; prompts may only use its vocabulary, if it has one."""
    trigger: str = ""
    """Words that trigger the character's LoRA; every prompt begins with them."""
    characters: tuple[str, ...] = ()
    """Names by which prompts should call the characters."""


class Planner(Protocol):
    async def plan(self, request: PlanRequest) -> Plan:
        """Return as many scenes as requested; a planner that does not sample gives equal plans for equal requests.

        Raises PlanningFailed.
        """
