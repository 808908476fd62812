"""What a reference contributes to stories whose prompts do not name the character.

    python -m benchmarks.stories.unnamed [--quick] [--device D] [--threads N]

The prompts give only the place of each frame; the character comes from the reference alone, which is the first frame of
a story that names the character. The miniature's judge, which sees neither prompts nor references, says whom each frame
shows. Prints a table, and writes `benchmarks/results/storyboard-unnamed.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.client import Client
from benchmarks.measured_model import REPOSITORY, measured_entry, server_environment
from benchmarks.servers import JUBAKO, serving
from benchmarks.stories.story_makers import FRAMES, StoryResult, generate_story
from models.miniature.captions import article
from models.miniature.concepts import COLOURS
from models.miniature.evaluate import border_colour
from models.miniature.judge import load_judge, name_concepts
from settings import settings
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.clip_model import ClipScoringModel
from storyboard.scoring.scorers import Scorers

HEROES = ("fox", "cat", "penguin", "turtle", "pig", "owl")
PLACES = tuple(COLOURS)[:FRAMES]
SEED = 42
NAMED = "named in the prompts, no reference"
MODES: dict[str, float | None] = {
    "not named, no reference": None,
    **{f"not named, reference at scale {scale}": scale for scale in (0.2, 0.6)},
}


@dataclass(frozen=True)
class StoryMeans:
    """Means over all frames of all stories."""

    right_character: float
    """Share of frames in which the judge sees the character of the reference."""
    right_background: float
    likeness: float
    """CLIP cosine of the centres of a frame and the reference."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stories.unnamed")
    parser.add_argument("--quick", action="store_true", help="two characters: a smoke test")
    parser.add_argument("--device", default="auto", help="as JUBAKO_DEVICE")
    parser.add_argument("--threads", type=int, help="torch's threads, everywhere; default: torch's own choice")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    heroes = HEROES[:2] if options.quick else HEROES
    measured = asyncio.run(_measure(heroes, options.device))
    print(f"{'':<40}{'character':>11}{'background':>12}{'likeness':>10}")
    for mode, each in measured.items():
        print(f"{mode:<40}{each.right_character:11.0%}{each.right_background:12.0%}{each.likeness:10.3f}")
    found = {"heroes": heroes, "frames": FRAMES, "modes": {mode: asdict(each) for mode, each in measured.items()}}
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "storyboard-unnamed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


async def _measure(heroes: Sequence[str], device: str) -> dict[str, StoryMeans]:
    environment = server_environment(None, device, torch.get_num_threads())
    # This process uses the same settings as the server; nothing has read them yet.
    os.environ.update(environment)
    entry = measured_entry()
    async with serving(JUBAKO, environment, (entry.defaults.width, entry.defaults.height)) as client:
        named = [
            await _drawn(client, [f"{article(hero)} {hero} {_place(colour)}" for colour in PLACES]) for hero in heroes
        ]
        boards = {NAMED: named}
        for mode, scale in MODES.items():
            boards[mode] = [await _unnamed(client, board.images[0], scale) for board in named]
    clip = ClipScoringModel.load(Scorers(settings(), ClipHost("cpu").compare).of(entry).clip, "cpu")
    references = [board.images[0] for board in named]
    return {mode: _measured(clip, heroes, references, each) for mode, each in boards.items()}


async def _unnamed(client: Client, reference: Image.Image, scale: float | None) -> StoryResult:
    fields: dict[str, Any] = {}
    if scale is not None:
        buffer = io.BytesIO()
        reference.save(buffer, "PNG")
        fields = {"reference_image": base64.b64encode(buffer.getvalue()).decode(), "reference_scale": scale}
    return await _drawn(client, [_place(colour) for colour in PLACES], **fields)


async def _drawn(client: Client, prompts: Sequence[str], **fields: Any) -> StoryResult:
    """Generate each prompt once, without validation: CLIP compares with prompts, which do not name the character."""
    scenes = [{"prompt": prompt} for prompt in prompts]
    return await generate_story(client, "A story of somebody", seed=SEED, scenes=scenes, max_tries=1, **fields)


def _measured(
    clip: ClipScoringModel, heroes: Sequence[str], references: Sequence[Image.Image], boards: Sequence[StoryResult]
) -> StoryMeans:
    right, places, likeness = [], [], []
    for hero, reference, board in zip(heroes, references, boards, strict=True):
        # The first frame whose prompt names the character is the reference itself.
        frames = list(zip(PLACES, board.images, strict=True))[1:]
        images = [image for _, image in frames]
        right += [seen == hero for seen in _seen_in(images)]
        places += [border_colour(np.asarray(image, dtype=np.float32) / 255) == colour for colour, image in frames]
        first, *others = clip.embed_images([_middle(image) for image in (reference, *images)])
        likeness += [float(first @ other) for other in others]
    return StoryMeans(fmean(right), fmean(places), fmean(likeness))


def _seen_in(images: Sequence[Image.Image]) -> list[str]:
    pixels = np.stack([np.asarray(image, dtype=np.float32) for image in images]) / 255
    return name_concepts(load_judge(), torch.from_numpy(pixels).permute(0, 3, 1, 2) * 2 - 1)


def _middle(frame: Image.Image) -> Image.Image:
    """Return the middle of a frame, half as wide and high, since backgrounds differ."""
    width, height = frame.size
    return frame.crop((width // 4, height // 4, width - width // 4, height - height // 4))


def _place(colour: str) -> str:
    return f"on {article(colour)} {colour} background"


if __name__ == "__main__":
    main()
