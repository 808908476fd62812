"""What a request tunes changes the image, and the plain pipeline with the same arguments draws the same one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import pytest

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.catalogue.families.samplers import DIFFUSION, FLOW, FLOW_MULTISTEP
from models.catalogue.families.schedulers import CLASS_SCHEDULES, EXPLICIT
from models.catalogue.families.tunable import ARGUMENTS, TAKES
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.drawing import draw_together, frames_of, largest_difference, plain_frames, request, results
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny
from tests.tiny import TINY, Tiny
from tests.tiny.videos.ltx2 import perturb_last_block
from tests.tiny.videos.wan import tiny_wan_a14b

BROKEN = {
    "LTXPipeline": {"timesteps"},
    "LTXImageToVideoPipeline": {"timesteps"},
    "LTX2Pipeline": {"timesteps", "max_sequence_length"},
    "LTX2ImageToVideoPipeline": {"timesteps", "max_sequence_length"},
    "SanaPipeline": {"timesteps"},
    "SanaSprintPipeline": {"timesteps"},
    "SanaSprintImg2ImgPipeline": {"timesteps"},
}
"""LTX's refuse their own sigmas when they get timesteps, Sprint's their own last time; Sana's sampler ignores them.
LTX-2's connectors take texts of one length.
"""
TIMES = (999.0, 700.0, 300.0, 20.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_pipelines_take_what_their_signatures_say(family: str) -> None:
    spec = FAMILIES[family]
    unguided = set() if spec.negative_prompt else {"negative_prompt_2"}
    for pipeline in {*spec.pipelines.values(), *spec.controlled.values()}:
        parameters = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
        assert TAKES[pipeline] == (ARGUMENTS & parameters.keys()) - unguided - BROKEN.get(pipeline, set()), pipeline


@pytest.mark.parametrize("class_name", CLASS_SCHEDULES)
def test_samplers_take_what_their_signatures_say(class_name: str) -> None:
    sampler = getattr(diffusers, class_name)
    taken = inspect.signature(sampler.set_timesteps).parameters.keys() & {"sigmas", "timesteps"}
    # UniPC takes sigmas of a flow only, which the pipelines that have it do not pass on.
    assert EXPLICIT.get(class_name, frozenset()) == (taken if class_name != "UniPCMultistepScheduler" else frozenset())
    takes_eta = "eta" in inspect.signature(sampler.step).parameters
    specs = [spec for table in (DIFFUSION, FLOW, FLOW_MULTISTEP) for spec in table.values()]
    assert {spec.takes_eta for spec in specs if spec.class_name == class_name} == {takes_eta}


TUNED: dict[str, Sequence[dict[str, Any]]] = {
    "stable-diffusion": [
        {"clip_skip": 1},
        {"guidance_rescale": 0.8},
        {"eta": 1.0},
        {"eta": 1.0, "scheduler": "tcd"},
        {"timesteps": TIMES, "scheduler": "heun"},
        *({"timesteps": TIMES, "scheduler": name} for name in ("ddpm", "dpmpp_2m_sde", "dpmpp_2s", "euler")),
        *({"timesteps": (999.0, 799.0, 399.0, 99.0), "scheduler": name} for name in ("lcm", "tcd")),
        {"sigmas": (14.6, 6.3, 1.5, 0.03), "scheduler": "euler"},
        {"task": Task.INPAINT, "clip_skip": 1},
        {"task": Task.IMAGE_TO_IMAGE, "timesteps": TIMES, "scheduler": "dpmpp_2m"},
    ],
    "stable-diffusion-xl": [
        {"prompt_2": "an oil painting"},
        {"negative_prompt_2": "blurry"},
        {"clip_skip": 1},
        {"sigmas": (14.6, 6.3, 1.5, 0.03), "scheduler": "euler"},
    ],
    "stable-diffusion-3": [
        {"max_sequence_length": 16},
        {"prompt_2": "an oil painting"},
        {"flow_shift": 9.0},
        {"sigmas": (1.0, 0.9, 0.8, 0.1)},
    ],
    "flux": [{"prompt_2": "an oil painting"}, {"max_sequence_length": 16}, {"flow_shift": 9.0}],
    "wan": [{"flow_shift": 12.0}, {"flow_shift": 12.0, "scheduler": "flow_euler"}, {"max_sequence_length": 16}],
    "wan-a14b": [{"guidance_scale_2": 1.5}],
    "ltx": [{"guidance_rescale": 0.8}],
    "ltx-distilled": [{"timesteps": TIMES}],
    "ltx-2.3": [{"stg_scale": 4.0}, {"modality_scale": 1.0}],
}
A14B = "wan-a14b"
TINIES = {**TINY, A14B: Tiny(tiny_wan_a14b, "unipc", num_frames=5)}
CHOSEN = {"task", "scheduler"}


@pytest.mark.parametrize("family", TUNED)
async def test_a_mixed_crowd_is_tuned_as_the_plain_pipeline_is(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb_last_block(monkeypatch)
    model = load_tiny("wan" if family == A14B else family, tmp_path, TINIES[family])
    tuned = [wanted(family, model, **fields) for fields in TUNED[family]]
    left_alone = [{name: fields[name] for name in fields.keys() & CHOSEN} for fields in TUNED[family]]
    engine = Engine(model, EngineLimits(BATCH_TOKENS))
    try:
        drawn = await draw_together(engine, [*tuned, *(wanted(family, model, **fields) for fields in left_alone)])
    finally:
        engine.close()
    for number, each in enumerate(tuned):
        frames, others = (frames_of(results(drawn[number + further])[0]) for further in (0, len(tuned)))
        assert max(map(largest_difference, frames, plain_frames(model, each))) <= TOLERANCE, TUNED[family][number]
        assert max(map(largest_difference, frames, others)) > TOLERANCE, TUNED[family][number]


def wanted(family: str, model: LoadedModel, **fields: Any) -> GenerationRequest:
    video = {"num_frames": TINIES[family].num_frames, "fps": 8} if TINIES[family].num_frames > 1 else {}
    usual = {"task": next(iter(model.pipelines)), "scheduler": TINIES[family].scheduler, **video}
    return request(**{**usual, **fields})
