"""Images per second of N replicas, each on a part of the cores, compared with one on such a part and one on all.

    python -m benchmarks.replicas

The three servers all run, but take turns at getting requests, so that other load on the machine slows down all of them
alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support.servers.serving import free_port, wait_for

MODEL = "miniature"
CORES = len(os.sched_getaffinity(0))


class Side(NamedTuple):
    replicas: int
    parts: int
    """The parts that the cores are divided into, one for each replica."""

    def __str__(self) -> str:
        return f"{self.replicas} x {CORES // self.parts}"


@contextmanager
def server(side: Side, folder: Path) -> Iterator[str]:
    """Start a server and yield its URL, which may not answer yet."""
    port = free_port()
    environment = {
        **os.environ,
        # Of one replica that has all cores; others have as many threads as their part has cores.
        "OMP_NUM_THREADS": str(CORES),
        "JUBAKO_MODELS": MODEL,
        "JUBAKO_DEVICE": f"cpu:{side.parts}",
        "JUBAKO_REPLICAS": f"{MODEL}:{side.replicas}",
        "JUBAKO_STORAGE": str(folder / "storage"),
        "JUBAKO_JOBS_FILE": str(folder / "jobs.sqlite"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "bentoml", "serve", "service:Jubako", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def _ready(url: str, replicas: int) -> bool:
    try:
        (model,) = httpx.get(f"{url}/health").json()["models"]
    except (httpx.TransportError, ValueError):
        return False
    states = [each["state"] for each in model.get("runners", [model])]
    return states == ["ready"] * replicas


def images_per_s(url: str, images: int, steps: int) -> float:
    def draw(seed: int) -> None:
        body = {"prompt": "a red apple", "num_inference_steps": steps, "seed": seed}
        httpx.post(f"{url}/text_to_image", json=body, timeout=600).raise_for_status()

    begun_s = time.perf_counter()
    with ThreadPoolExecutor(images) as threads:
        list(threads.map(draw, range(images)))
    return images / (time.perf_counter() - begun_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--images", type=int, default=16, help="at the same time")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    one, several, all_cores = Side(1, args.replicas), Side(args.replicas, args.replicas), Side(1, 1)
    with ExitStack() as stack:
        urls = {}
        for side in (one, several, all_cores):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            urls[side] = stack.enter_context(server(side, folder))
        for side, url in urls.items():
            wait_for(partial(_ready, url, side.replicas), 240)
            print(f"{side}: warming up", flush=True)
            images_per_s(url, args.images, args.steps)
        rounds = []
        for _ in range(args.rounds):
            rounds.append({side: images_per_s(url, args.images, args.steps) for side, url in urls.items()})
            print(
                "images/s by replicas x cores of each:",
                "; ".join(f"{side}: {speed:.2f}" for side, speed in rounds[-1].items()),
                flush=True,
            )
    for other in (one, all_cores):
        ratio = statistics.median(speeds[several] / speeds[other] for speeds in rounds)
        print(f"{several} against {other}: {ratio:.2f} times the images, the median of {args.rounds} rounds")


if __name__ == "__main__":
    main()
