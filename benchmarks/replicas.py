"""Images per second of N replicas on parts of the cores, against one on all of them: `python -m benchmarks.replicas`.

Both servers run at once, but only one of them has requests at a time, in turns: what else the machine does
meanwhile slows down both alike.
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
from pathlib import Path

import httpx

from tests.support.serving import free_port, wait_for

MODEL = "miniature"
CORES = len(os.sched_getaffinity(0))


@contextmanager
def server(replicas: int, folder: Path) -> Iterator[str]:
    port = free_port()
    environment = {
        **os.environ,
        # Of one replica, which has all cores; several share them out.
        "OMP_NUM_THREADS": str(CORES),
        "JUBAKO_MODELS": MODEL,
        "JUBAKO_DEVICE": f"cpu:{replicas}",
        "JUBAKO_REPLICAS": f"{MODEL}:{replicas}",
        "JUBAKO_STORAGE": str(folder / "storage"),
        "JUBAKO_JOBS_FILE": str(folder / "jobs.sqlite"),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    command = [sys.executable, "-m", "bentoml", "serve", "service:Jubako", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _ready(url, replicas), 240)
        yield url
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
    with ExitStack() as stack:
        sides = {}
        for replicas in (1, args.replicas):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sides[replicas] = stack.enter_context(server(replicas, folder))
            images_per_s(sides[replicas], args.images, args.steps)
        rounds = []
        for _ in range(args.rounds):
            rounds.append({replicas: images_per_s(url, args.images, args.steps) for replicas, url in sides.items()})
            print(f"images/s by replicas: {rounds[-1]}", flush=True)
    for replicas in sides:
        print(f"replicas: {replicas}; {statistics.median(each[replicas] for each in rounds):.2f} images/s")
    ratio = statistics.median(each[args.replicas] / each[1] for each in rounds)
    print(f"{args.replicas} replicas against 1, on the same {CORES} cores: {ratio:.2f} times")


if __name__ == "__main__":
    main()
