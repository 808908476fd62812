"""The baseline for stories: the plain pipeline with its LoRA generates one frame at a time, and CLIP scores each.

Reads one story per line from standard input, as JSON with its prompts and seed, and writes one line for each. It uses
the same seeds, tries and threshold as Jubako's server, so both generate the same frames.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from benchmarks.measured_model import measured_entry
from benchmarks.weights import load_plain
from core.generation.request import Task
from models.catalogue.entry import Entry
from models.weights.fetching.fetch import local_path
from settings import settings
from storyboard.resolved_story import seed_of
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.clip_model import ClipScoringModel
from storyboard.scoring.scorers import Scorers


@dataclass(frozen=True)
class PlainFrame:
    image: Image.Image
    score: float
    tries: int


class PlainStory:
    def __init__(self, entry: Entry) -> None:
        self._defaults = entry.defaults
        self._pipeline: Any = load_plain(entry).pipelines[Task.TEXT_TO_IMAGE]
        if (name := settings().story_lora) is not None:
            lora = entry.choosable_loras[name]
            self._pipeline.load_lora_weights(local_path(lora.source), adapter_name="character")
            self._pipeline.set_adapters("character", lora.scale)
        scorer = Scorers(settings(), ClipHost(settings().first_device).compare).of(entry)
        self._clip = ClipScoringModel.load(scorer.clip, settings().first_device)
        self._threshold = scorer.threshold

    def frame(self, prompt: str, seed: int, number: int) -> PlainFrame:
        """Generate until the CLIP score is high enough or the tries are used up; return the best frame."""
        tries: list[tuple[float, Image.Image]] = []
        while len(tries) < settings().story_max_tries and not any(score >= self._threshold for score, _ in tries):
            image = self._draw(prompt, seed_of(seed, number, len(tries) + 1))
            tries.append((self._clip.cosines([(image, prompt)])[0], image))
        score, image = max(tries, key=lambda each: each[0])
        return PlainFrame(image, score, len(tries))

    def _draw(self, prompt: str, seed: int) -> Image.Image:
        image: Image.Image = self._pipeline(
            prompt,
            width=self._defaults.width,
            height=self._defaults.height,
            num_inference_steps=self._defaults.num_inference_steps,
            guidance_scale=self._defaults.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        return image


def main() -> None:
    plain = PlainStory(measured_entry())
    for line in sys.stdin:
        story = json.loads(line)
        started_s = time.perf_counter()
        frames = [plain.frame(prompt, story["seed"], number) for number, prompt in enumerate(story["prompts"], 1)]
        images = [_png(frame.image) for frame in frames]
        seconds = time.perf_counter() - started_s
        outcome = {"scores": [frame.score for frame in frames], "tries": [frame.tries for frame in frames]}
        sys.stdout.write(json.dumps({"seconds": seconds, "images": images, **outcome}) + "\n")
        sys.stdout.flush()


def _png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    main()
