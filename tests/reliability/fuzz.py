"""Ten thousand requests that nobody should send, to one server.

`make fuzz` runs it, for some minutes; docs/reliability.md has its figures. It ends with 1 when an answer is a server's
error (500 or worse, save 503 and 504, which say what to do), when one takes longer than a minute, when a process of the
server ends, or when memory grows.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.reliability import attacks
from tests.reliability.descriptions import schemathesis_of
from tests.reliability.footprint import Footprint
from tests.reliability.verdict import end_with
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import FRESH, write_tiny_catalogue
from tests.support.web import WEB

CALLERS = 8
DESCRIPTIONS = ("", "/openai", "/generator", "/text2image", "/inpainting", "/storyboard")
"""Each has an openapi.json."""
ATTACKS: Mapping[str, Callable[[Replica, random.Random], str]] = {
    "raw sockets": attacks.raw_bytes,
    "JSON": attacks.strange_json,
    "multipart": attacks.strange_multipart,
    "images": attacks.damaged_image,
    "WebSocket frames": attacks.strange_frames,
}


@dataclass(frozen=True)
class Outcome:
    requests: int
    answers: Counter[str]
    before: Footprint
    after: Footprint
    faults: list[str]


def run(seed: int, count: int) -> Outcome:
    """Send `count` requests, half of them made from the descriptions, and half by hand."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = write_tiny_catalogue(Path(folder))
        with (
            replica(catalogue, "service:Jubako", FRESH) as server,
            replica(catalogue, "runners.alone:service", FRESH, JUBAKO_RUNNER_KEY=attacks.RUNNER_KEY) as runner,
        ):
            _use_everything(server, runner)
            before = Footprint.of(server.pid)
            made, faults = _described(server, seed, count // 2)
            answers = _attack(server, runner, seed, count - count // 2)
            faults += [f"{answers[kind]} times: {kind}" for kind in sorted(answers) if attacks.is_fault(kind)]
            after = Footprint.of(server.pid)
            faults += before.growth_to(after)
            if not WEB.get(f"{server.url}/readyz").is_success:
                faults.append("the server is no longer ready")
    return Outcome(made + answers.total(), answers, before, after, faults)


def _use_everything(server: Replica, runner: Replica) -> None:
    """Have every library and cache loaded, so that the first footprint is that of a server in use."""
    story = {"prompt": "A fox finds a key in the castle", "num_frames": 6, "num_inference_steps": 1, "max_tries": 1}
    assert WEB.post(f"{server.url}/storyboard", json=story, timeout=attacks.ANSWER_S).is_success
    _described(server, seed=0, count=600)
    _attack(server, runner, seed=-1, count=200)


def _described(server: Replica, seed: int, count: int) -> tuple[int, list[str]]:
    made, faults = 0, []
    for prefix in DESCRIPTIONS:
        tried, found = schemathesis_of(f"{server.url}{prefix}", seed, count // len(DESCRIPTIONS))
        made += tried
        faults += [f"{prefix or '/'}: {each}" for each in found]
    return made, faults


def _attack(server: Replica, runner: Replica, seed: int, count: int) -> Counter[str]:
    def one(number: int) -> str:
        chance = random.Random(f"{seed} {number}")
        if number % (len(ATTACKS) + 1) == len(ATTACKS):
            return f"runner frames: {_timed(partial(attacks.runner_frame, runner, chance))}"
        kind = list(ATTACKS)[number % (len(ATTACKS) + 1)]
        return f"{kind}: {_timed(partial(ATTACKS[kind], server, chance))}"

    with ThreadPoolExecutor(CALLERS) as callers:
        return Counter(callers.map(one, range(count)))


def _timed(attack: Callable[[], str]) -> str:
    started_s = time.monotonic()
    answer = attack()
    return answer if time.monotonic() - started_s < attacks.ANSWER_S else attacks.TOO_LATE


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    started_s = time.monotonic()
    outcome = run(options.seed, options.requests)
    print(f"seed {options.seed}: {outcome.requests} requests in {time.monotonic() - started_s:.0f} s")
    for kind, times in sorted(outcome.answers.items()):
        print(f"  {times:6d}  {kind}")
    end_with(outcome.before, outcome.after, outcome.faults)


if __name__ == "__main__":
    main()
