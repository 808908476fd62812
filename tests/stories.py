"""A storyboard maker of its own for tests: the real gateway over real engines in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from PIL import Image

from api.gateway import Gateway
from api.in_process import HostRunner, Unmetered
from api.residency import Residency
from models.catalogue import Catalogue
from models.resolve import ServerLimits
from models.sources import Source
from runners.hosting import Host
from runners.service import engine_limits, host_options
from safety.policy import Policy
from settings import Settings
from storyboard.frames import Finished, Storyboard, StoryEvent
from storyboard.maker import Maker
from storyboard.scenes import Plan, PlanRequest, Scene
from storyboard.scorers import Scorers
from storyboard.scoring import Pair
from storyboard.story import Story

SCENES = ("a red apple", "a blue car", "a green tree", "a red car", "a blue apple", "a green car")


class Scenes:
    """Plans the same scenes for every story."""

    def __init__(self, *prompts: str) -> None:
        self.asked: list[PlanRequest] = []
        self._prompts = prompts or SCENES

    async def plan(self, request: PlanRequest) -> Plan:
        self.asked.append(request)
        scenes = (Scene(number, prompt, prompt) for number, prompt in enumerate(self._prompts, start=1))
        return Plan("scenes", tuple(scenes))


class Scores:
    """Scores by a function of picture and text, and remembers what it was asked."""

    def __init__(self, of: Callable[[Image.Image, str], float]) -> None:
        self.given: list[tuple[str, float]] = []
        self._of = of

    async def compare(self, clip: Source, pair: Pair) -> float:
        image, text = pair
        assert isinstance(text, str)
        self.given.append((text, self._of(image, text)))
        return self.given[-1][1]


@asynccontextmanager
async def story_maker(
    catalogue: Catalogue, settings: Settings, planner: Any = None, scores: Any = None
) -> AsyncIterator[tuple[Maker, dict[str, Host]]]:
    """Yield a maker over hosts of a catalogue's models, and those hosts; they are unloaded at the end."""
    hosts = {
        entry.id: Host(entry, engine_limits(entry, settings), host_options(settings))
        for entry in catalogue.entries.values()
    }
    runners = {model: HostRunner(host) for model, host in hosts.items()}
    limits = ServerLimits(settings.max_prompt_chars, settings.max_num_images, settings.request_timeout_s)
    gateway = Gateway(catalogue, runners, limits, Residency(catalogue, runners, None), Unmetered(), Policy())
    try:
        scorers = Scorers(settings, (scores or Scores(lambda *_: 1.0)).compare)
        yield Maker(gateway, planner or Scenes(), scorers, settings), hosts
    finally:
        for runner in runners.values():
            await runner.unload(force=True)


async def events_of(maker: Maker, **fields: Any) -> list[StoryEvent]:
    async with aclosing(maker.make(Story(**{"prompt": "a story of an apple", **fields}))) as happenings:
        return [event async for event in happenings]


async def board_of(maker: Maker, **fields: Any) -> Storyboard:
    last = (await events_of(maker, **fields))[-1]
    assert isinstance(last, Finished)
    return last.storyboard
