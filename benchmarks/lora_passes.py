"""The cost of LoRAs in a denoiser pass, with equal and different sets: `python -m benchmarks.lora_passes`.

The miniature with eight random LoRAs on its attention, and a batch of eight; medians of alternating repeats.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from core.generation.request import Lora
from models.catalogue.catalogue import full_catalogue
from models.weights.loading import load
from runners.engine.loras.hooks import NONE, Adapter
from runners.engine.loras.sets import LoraSets
from tests.support.engine.loras import ATTENTION, random_lora

NUMBER = 8
RANK = 16
REPEATS = 40


def main() -> None:
    torch.set_grad_enabled(False)
    model = load(full_catalogue(None).get("miniature"), "cpu")
    pipeline = next(iter(model.pipelines.values()))
    unet = model.components["unet"]
    with tempfile.TemporaryDirectory() as folder:
        specs = {
            name: random_lora(pipeline, Path(folder) / f"{name}.safetensors", {"unet": ATTENTION}, RANK)
            for name in (f"lora{number}" for number in range(NUMBER))
        }
        sets = LoraSets(pipeline, specs, NUMBER)
        wanted = [(Lora(name=name),) for name in specs]
        for each in wanted:
            sets.load(each, wanted)
    adapters = [sets.adapter("unet", each) for each in wanted]
    batches = {"none": [NONE] * NUMBER, "one for all": [adapters[0]] * NUMBER, "all different": adapters}
    arguments = {
        "sample": torch.randn(NUMBER, unet.config.in_channels, 16, 16),
        "timestep": torch.full((NUMBER,), 500.0),
        "encoder_hidden_states": torch.randn(NUMBER, 77, unet.config.cross_attention_dim),
    }

    def timed(batch: list[Adapter]) -> float:
        started = time.perf_counter()
        with sets.applied("unet", unet, batch):
            unet(**arguments)
        return time.perf_counter() - started

    times: dict[str, list[float]] = {name: [] for name in batches}
    for _ in range(REPEATS):
        for name, batch in batches.items():
            times[name].append(timed(batch))
    plain = median(times["none"])
    for name, taken in times.items():
        print(f"{name:14} {1000 * median(taken):7.1f} ms, {median(taken) / plain:.2f} of a pass without")


if __name__ == "__main__":
    main()
