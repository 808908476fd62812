"""The cost of LoRAs in a denoiser pass, with equal and different sets: `python -m benchmarks.lora_passes`.

Eight random LoRAs on the attention of the miniature's UNet, and of one as wide as SDXL's with fewer blocks; batches of
eight, medians of alternating repeats. The narrower a layer, the more of its work is a LoRA of equal rank: 2 * 16 / 1280
of the multiplications at SDXL's width, an eighth or a quarter at the miniature's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from core.generation.request import Lora
from models.catalogue.catalogue import full_catalogue
from models.weights.loading import load
from runners.engine.loras.hooks import NONE, Adapter
from runners.engine.loras.sets import LoraSets
from tests.support.engine.loras import ATTENTION, random_lora

NUMBER = 8
RANK = 16


def main() -> None:
    torch.set_grad_enabled(False)
    pipeline = next(iter(load(full_catalogue(None).get("miniature"), "cpu").pipelines.values()))
    for name, unet, repeats in (("miniature", pipeline.unet, 40), ("SDXL's width", wide_unet(), 8)):
        pipeline.unet = unet
        times = measured(pipeline, repeats)
        for loras, taken in times.items():
            ratio = median(taken) / median(times["none"])
            print(f"{name:14} {loras:14} {1000 * median(taken):7.1f} ms, {ratio:.2f} of a pass without", flush=True)


def wide_unet() -> UNet2DConditionModel:
    """Return a UNet whose layers with attention are as wide as SDXL's; it has 7 of SDXL's 70 transformer blocks."""
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(640, 1280),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
    ).eval()


def measured(pipeline: Any, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of passes by the LoRAs of their samples."""
    unet = pipeline.unet
    sets, adapters = loaded(pipeline)
    batches = {"none": [NONE] * NUMBER, "one for all": [adapters[0]] * NUMBER, "all different": adapters}
    arguments = {
        "sample": torch.randn(NUMBER, unet.config.in_channels, 16, 16),
        "timestep": torch.full((NUMBER,), 500.0),
        "encoder_hidden_states": torch.randn(NUMBER, 77, unet.config.cross_attention_dim),
    }

    def timed(batch: Sequence[Adapter]) -> float:
        started = time.perf_counter()
        with sets.applied("unet", unet, batch):
            unet(**arguments)
        return time.perf_counter() - started

    times: dict[str, list[float]] = {name: [] for name in batches}
    for _ in range(repeats):
        for name, batch in batches.items():
            times[name].append(timed(batch))
    return times


def loaded(pipeline: Any) -> tuple[LoraSets, list[Adapter]]:
    """Load random LoRAs into the UNet; return the effect of each."""
    width = pipeline.unet.config.block_out_channels[-1]
    with tempfile.TemporaryDirectory() as folder:
        specs = {
            name: random_lora(pipeline, Path(folder) / f"{name}.safetensors", {"unet": ATTENTION}, RANK)
            # Of their own names for each UNet, since files of equal names are saved once.
            for name in (f"{width}-{number}" for number in range(NUMBER))
        }
        sets = LoraSets(pipeline, specs, NUMBER)
        wanted = [(Lora(name=name),) for name in specs]
        for each in wanted:
            sets.load(each, wanted)
    return sets, [sets.adapter("unet", each) for each in wanted]


if __name__ == "__main__":
    main()
