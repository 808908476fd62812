"""Compare a story drawn by Jubako with one drawn frame by frame, and say what validation and a reference bring.

    python -m benchmarks.storyboard [--quick] [--lora NAME] [--device D] [--threads N]

Both sides draw the same scenes with the same seeds, turn by turn, on the same weights. Prints a table, the bars that
were set, and one line of JSON; writes `benchmarks/results/storyboard.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.client import Client
from benchmarks.servers import JUBAKO, serving
from benchmarks.stories import PlainTeller, Told, plain_teller, tell
from benchmarks.story_report import (
    GUIDED,
    MORE_GUIDED,
    UNVALIDATED,
    VALIDATED,
    Crowd,
    Measured,
    Quality,
    Speed,
    print_report,
)
from benchmarks.subject import REPOSITORY, SCRATCH, measured_entry, server_environment
from models.catalogue.entry import Entry
from models.weights.devices import resolve_device
from settings import settings
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.clip_model import Clip
from storyboard.scoring.scorers import Scorers

CALLERS = 4
SEED = 42
STORIES = (
    "A fox finds a golden key in the garden and opens a castle",
    "A little cat sails away, meets a whale and comes home at night",
    "The penguin wants to fly to the moon, so he builds a rocket",
    "An old turtle looks for a friend and finds a butterfly on a tulip",
    "A pig bakes a pizza, and a dog steals it",
    "The owl plays the guitar until the moon falls asleep",
)


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    started_s = time.perf_counter()
    measured = asyncio.run(_measure(options))
    measured.machine["seconds"] = round(time.perf_counter() - started_s)
    print_report(measured)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "storyboard.json").write_text(json.dumps(measured.as_json(), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured.as_json()))
    if options.strict and not all(bar.reached for bar in measured.bars()):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two stories: a smoke test")
    parser.add_argument("--lora", help="name of the LoRA that both sides draw with")
    parser.add_argument("--device", default="auto", help="as JUBAKO_DEVICE")
    parser.add_argument("--threads", type=int, help="torch's threads, everywhere; default: torch's own choice")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    return parser.parse_args()


async def _measure(options: argparse.Namespace) -> Measured:
    environment = server_environment(None, options.device, torch.get_num_threads())
    environment |= {"JUBAKO_STORY_LORA": options.lora or "", "JUBAKO_STORAGE": str(SCRATCH / "storage")}
    environment |= {"JUBAKO_JOBS_FILE": str(SCRATCH / "jobs.sqlite"), "BENTOML_HOME": str(SCRATCH / "bentoml")}
    # The settings of this process are those of both sides; nothing has read them yet.
    os.environ.update(environment)
    entry = measured_entry()
    size = entry.defaults.width, entry.defaults.height
    stories = STORIES[:2] if options.quick else STORIES
    async with serving(JUBAKO, environment, size) as client, plain_teller(environment) as plain:
        for _ in range(2):  # BentoML learns from a dozen scores how long they take, and batches after that.
            await tell(client, "A cat finds a crown", seed=1)
        told: dict[str, list[Told]] = {VALIDATED: []}
        speed = await _measure_speed(client, plain, stories, told[VALIDATED])
        crowd = await _measure_crowd(client, plain, stories[:CALLERS])
        for mode, fields in _other_modes(entry).items():
            told[mode] = [await tell(client, story, seed=SEED, **fields) for story in stories]
            _note(f"{mode}: {fmean(board.seconds for board in told[mode]):.2f} s a story")
    clip = Clip.load(Scorers(settings(), ClipHost("cpu").compare).of(entry).clip, "cpu")
    quality = {mode: _quality(clip, boards) for mode, boards in told.items()}
    return Measured(_machine(options), speed, crowd, quality)


def _other_modes(entry: Entry) -> dict[str, dict[str, Any]]:
    modes: dict[str, dict[str, Any]] = {UNVALIDATED: {"max_tries": 1}}
    if entry.ip_adapter is not None:
        modes |= {GUIDED: {"use_ref_guided": True}, MORE_GUIDED: {"use_ref_guided": True, "reference_scale": 0.6}}
    return modes


async def _measure_speed(client: Client, plain: PlainTeller, stories: Sequence[str], told: list[Told]) -> Speed:
    """Draw each story both ways, turn by turn; what Jubako drew goes to `told`."""
    others = []
    for story in stories:
        told.append(await tell(client, story, seed=SEED))
        others.append(await plain.tell(told[-1].prompts, SEED))
        _note(f"{story}: Jubako {told[-1].seconds:.2f} s, plain {others[-1].seconds:.2f} s, tries {told[-1].tries}")
    return Speed(
        plain_s=median(each.seconds for each in others),
        jubako_s=median(each.seconds for each in told),
        ratio=median(other.seconds / each.seconds for each, other in zip(told, others, strict=True)),
        jubako_worst_s=max(each.seconds for each in told),
        draws=sum(sum(each.tries) for each in told),
        differing=sum(_differing(each, other) for each, other in zip(told, others, strict=True)),
    )


async def _measure_crowd(client: Client, plain: PlainTeller, stories: Sequence[str]) -> Crowd:
    started_s = time.perf_counter()
    boards = await asyncio.gather(*(tell(client, story, seed=SEED + 1) for story in stories))
    jubako_s = time.perf_counter() - started_s
    others = [(await plain.tell(board.prompts, SEED + 1)).seconds for board in boards]
    waits = np.cumsum(others)
    _note(f"{len(stories)} stories at once: Jubako {jubako_s:.2f} s, plain {waits[-1]:.2f} s")
    mean_s = fmean(board.seconds for board in boards)
    return Crowd(len(stories), float(waits[-1]), float(waits.mean()), jubako_s, mean_s)


def _quality(clip: Clip, boards: Sequence[Told]) -> Quality:
    scores = [score for board in boards for score in board.scores]
    return Quality(
        seconds=median(board.seconds for board in boards),
        score=fmean(scores),
        worst_score=min(scores),
        tries=fmean(tries for board in boards for tries in board.tries),
        likeness=fmean(_likeness(clip, _frames_of_hero(board)) for board in boards),
    )


def _likeness(clip: Clip, frames: Sequence[Image.Image]) -> float:
    return fmean(clip.cosines(list(combinations(map(_middle, frames), 2))))


def _middle(frame: Image.Image) -> Image.Image:
    """Half the width and height: what is around the character is as its prompt says."""
    width, height = frame.size
    return frame.crop((width // 4, height // 4, width - width // 4, height - height // 4))


def _frames_of_hero(board: Told) -> list[Image.Image]:
    """The frames whose prompts begin as most of them do: with who acts, before the background."""
    begins = [prompt.split(" on ")[0].split(",")[0] for prompt in board.prompts]
    hero = Counter(begins).most_common(1)[0][0]
    return [image for image, begin in zip(board.images, begins, strict=True) if begin == hero]


def _differing(one: Told, other: Told) -> int:
    pairs = zip(one.images, other.images, strict=True)
    return sum(int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max() > 1) for a, b in pairs)


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    device = resolve_device(options.device)
    cores = f"{len(os.sched_getaffinity(0))} CPU cores"
    return {
        "title": cores if device == "cpu" else torch.cuda.get_device_name(),
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
        "lora": options.lora,
        "quick": options.quick,
    }


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
