"""The stages of the check: where each one is, its time limit, and its expected result. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TOTAL_S = 590
"""The time limit for all stages together."""


@dataclass(frozen=True)
class CheckStage:
    function: str
    """`module:name`, called with a `Setup`."""
    limit_s: float
    expected: str


STAGES: Mapping[str, CheckStage] = {
    "same": CheckStage(
        "benchmarks.gpu.families:same",
        90,
        "float32: at most 2 of 255 between alone and in a crowd; bfloat16: tens; bfloat16 with `reproducible`: 0",
    ),
    "sdxl": CheckStage(
        "benchmarks.gpu.sdxl:sdxl",
        80,
        "one pass of one 1024 px image about 50 ms; decoding 8 of them about 25 GiB above the weights",
    ),
    "ahead": CheckStage(
        "benchmarks.gpu.sdxl:ahead",
        70,
        "not waiting for each pass gains under 2 % at 1024 px, 5 to 15 % with 16 images at 512 px, more with UniPC",
    ),
    "wan": CheckStage(
        "benchmarks.gpu.wan:wan",
        100,
        "decoding 81 frames takes 7.6 GiB at 480p and 17.5 GiB at 720p above the weights; 2 to 5 s become PIL images",
    ),
    "flux": CheckStage(
        "benchmarks.gpu.flux:flux",
        120,
        "cuDNN attention is 5 to 10 % faster than native; compiled blocks 15 to 30 %, after 30 to 60 s",
    ),
    "lora": CheckStage(
        "benchmarks.gpu.flux:lora",
        80,
        "a pass of one image takes at most 1.1 times as long with one LoRA, and with 8 different ones at 8 images too",
    ),
    "qwen": CheckStage(
        "benchmarks.gpu.qwen_image:qwen",
        50,
        "a pass with padded prompts is 10 to 40 % slower than one of equal prompts: its mask chooses another kernel",
    ),
    "oom": CheckStage(
        "benchmarks.gpu.sdxl:oom",
        60,
        "every request is drawn or fails as `out_of_memory`, and one that comes afterwards is drawn",
    ),
}
"""In order, the most informative first, in case the time does not suffice."""
