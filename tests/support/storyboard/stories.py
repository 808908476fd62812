"""A storyboard maker of its own for tests: the real gateway over real engines in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from core.errors import RateExceeded
from core.generation.request import GenerationRequest
from gateway.assembly import assemble
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.serving.served_models import served_catalogue
from models.catalogue.sources import Source
from runners.host.host import Host
from runners.service import engine_limits, host_options
from settings import Settings
from standalone.in_process import HostRunner, Unmetered
from storyboard.frames import Finished, Storyboard, StoryEvent
from storyboard.maker import Maker
from storyboard.scenes import Plan, PlanRequest, Scene
from storyboard.scoring.pairs import ImageTextPair
from storyboard.scoring.scorers import Scorers
from storyboard.story import Story
from tests.support.engine.recorder import Recorder
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS, LIMITS
from tests.tiny.conditions import tiny_ip_adapter, tiny_lora
from tests.tiny.images.flux2 import tiny_flux2_klein
from tests.tiny.images.qwen_image import tiny_qwen_image_edit_plus
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion, tiny_stable_diffusion_xl

STORY = "a story of an apple"
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

    async def compare(self, clip: Source, pair: ImageTextPair) -> float:
        image, text = pair
        self.given.append((text, self._of(image, text)))
        return self.given[-1][1]


class Purse:
    """A caller's rate of so many pictures."""

    def __init__(self, pictures: int, refusals: int | None = None) -> None:
        """After so many `refusals` there is room for whatever is asked."""
        self._left = pictures
        self._refusals = refusals
        self.refused = 0
        self.other_px = 0

    async def count_further(self, requests: int) -> None:
        raise AssertionError("a story is one request")

    async def charge(self, request: GenerationRequest, other_px: int = 0) -> None:
        if self._left < request.num_images and self.refused != self._refusals:
            self.refused += 1
            raise RateExceeded("too much")
        self._left -= request.num_images
        self.other_px += other_px

    async def charge_pixels(self, field: str, pixels: int) -> None:
        raise AssertionError("models are asked for all of them")


@dataclass(frozen=True)
class Studio:
    """A maker, and what it draws with."""

    maker: Maker
    hosts: Mapping[str, Host]
    passes: Recorder

    @property
    def running(self) -> int:
        """Requests in the engines, or waiting for them."""
        states = [host.state() for host in self.hosts.values()]
        return sum(state.running + state.queued for state in states)

    def with_(self, **changes: Any) -> Maker:
        """Return a maker of the same models with other settings, planner or scores."""
        settings = self.maker.settings.model_copy(update=changes.pop("settings", {}))
        scores, planner = changes.pop("scores", None), changes.pop("planner", self.maker.planner)
        scorers = self.maker.scorers if scores is None else Scorers(settings, scores.compare)
        gateway = replace(self.maker.gateway, **changes)
        return Maker(gateway, planner, scorers, settings)


@asynccontextmanager
async def story_studio(settings: Settings) -> AsyncIterator[Studio]:
    """Yield a maker of the settings' models; they are unloaded at the end."""
    catalogue, passes = served_catalogue(settings), Recorder()
    hosts = {
        entry.id: Host(entry, engine_limits(entry, settings), host_options(settings, settings.first_device), passes)
        for entry in catalogue.entries.values()
    }
    runners = {model: HostRunner(host) for model, host in hosts.items()}
    gateway = assemble(settings, catalogue, runners, Unmetered(), ContentPolicy())
    try:
        yield Studio(
            Maker(gateway, Scenes(), Scorers(settings, Scores(lambda *_: 1.0).compare), settings), hosts, passes
        )
    finally:
        for runner in runners.values():
            await runner.unload(force=True)


def write_story_catalogue(folder: Path) -> Path:
    """Write a catalogue of `tiny-xl`, with a character and an IP-Adapter, and of `tiny`; return its file.

    The LoRA `stranger` of `tiny-xl` was made for `tiny`.
    """
    xl, sd = tiny_stable_diffusion_xl(folder / "sdxl"), tiny_stable_diffusion(folder / "sd")
    (folder / "xl").mkdir()
    loras = {
        "character": tiny_lora(xl, folder / "character.safetensors"),
        "stranger": tiny_lora(sd, folder / "stranger.safetensors"),
    }
    own = {
        "loras": {name: lora.model_dump(mode="json") for name, lora in loras.items()},
        "ip_adapter": tiny_ip_adapter(xl, folder / "xl").model_dump(mode="json"),
    }
    entries = {
        "tiny-xl": {**ENTRY_FIELDS, "family": "stable-diffusion-xl", "source": {"path": "sdxl"}, **own},
        "tiny": {**ENTRY_FIELDS, "family": "stable-diffusion", "source": {"path": "sd"}},
    }
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


def write_editing_catalogue(folder: Path) -> Path:
    """Write a catalogue of `klein`, which draws and edits four images, `one`, which only edits one, and `qwen`, which
    only edits, three; return its file.
    """
    tiny_flux2_klein(folder / "klein")
    tiny_qwen_image_edit_plus(folder / "qwen")
    flow = {**ENTRY_FIELDS, "defaults": {**DEFAULTS, "scheduler": "flow_euler"}, "limits": {**LIMITS, "max_images": 4}}
    klein = {**flow, "family": "flux2-klein", "source": {"path": "klein"}}
    entries = {
        "klein": klein,
        "one": {**klein, "tasks": {"edit": None}, "limits": LIMITS},
        "qwen": {
            **flow,
            "family": "qwen-image-edit-plus",
            "source": {"path": "qwen"},
            "limits": {**LIMITS, "max_images": 3},
        },
    }
    file = folder / "catalogue.yaml"
    file.write_text(yaml.safe_dump(entries))
    return file


async def events_of(maker: Maker, **fields: Any) -> list[StoryEvent]:
    async with aclosing(maker.make(Story(**{"prompt": STORY, **fields}))) as emitted:
        return [event async for event in emitted]


async def board_of(maker: Maker, **fields: Any) -> Storyboard:
    last = (await events_of(maker, **fields))[-1]
    assert isinstance(last, Finished)
    return last.storyboard
