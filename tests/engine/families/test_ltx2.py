"""The sound of LTX-2's clips, and how both of its streams are guided."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.generation.events import Clip, Failed
from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.catalogue.families.tunable import tuning_arguments
from models.weights.loading import LoadedModel, load_pipelines
from models.weights.memory.vae_tiling import can_tile
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.drawing import (
    draw,
    draw_together,
    heard,
    largest_sound_difference,
    plain_clip,
    request,
    results,
)
from tests.support.engine.parity import BATCH_TOKENS, SOUND_TOLERANCE, load_tiny
from tests.tiny import TINY

FRAMES, FPS = 9, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny("ltx-2", tmp_path_factory.mktemp("ltx-2"))


def wanted(**changes: Any) -> GenerationRequest:
    usual = {"scheduler": "flow_euler", "num_frames": FRAMES, "fps": FPS, "num_inference_steps": 3}
    return request(changes.pop("task", Task.TEXT_TO_VIDEO), **{**usual, **changes})


async def test_a_clip_is_heard_as_long_as_it_is_seen(model: LoadedModel) -> None:
    pear = {"prompt": "a green pear", "seed": 8}
    louder = {"audio_guidance_scale": 2.0}
    engine = Engine(model, EngineLimits(BATCH_TOKENS))
    try:
        drawn = await draw_together(engine, [wanted(), wanted(**pear), wanted(**louder)])
    finally:
        engine.close()
    clips = [results(events)[0] for events in drawn]
    sounds = [clip.sound for clip in clips if isinstance(clip, Clip) and clip.sound is not None]
    assert len(sounds) == len(clips)
    for sound in sounds:
        assert (sound.channels, sound.rate_hz) == (2, 16000)
        # A spectrum of 10 ms for each fourth part of a latent, but for what the first stands for.
        assert len(heard(sound)) / sound.rate_hz == pytest.approx(FRAMES / FPS, abs=0.05)
        assert heard(sound).std() > SOUND_TOLERANCE
    for other in sounds[1:]:
        assert largest_sound_difference(sounds[0], other) > SOUND_TOLERANCE


def test_what_writes_longer_prompts_is_not_loaded(tmp_path: Path) -> None:
    """It would need torchvision."""
    folder = TINY["ltx-2.3-distilled"].save(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    named = {"processor": ["transformers", "Gemma3Processor"], "duration_head": ["ltx2", "LTX2DurationHead"]}
    (folder / "model_index.json").write_text(json.dumps({**index, **named}))
    pipelines = load_pipelines(FAMILIES["ltx-2.3-distilled"], str(folder))
    assert {(each.processor, each.duration_head) for each in pipelines.values()} == {(None, None)}


async def test_few_tokens_at_once_tile_pictures_and_leave_sound_whole(model: LoadedModel) -> None:
    """The autoencoder of sound has the method that lets others tile, and cannot."""
    assert can_tile(model.components["vae"])
    assert not can_tile(model.components["audio_vae"])
    engine = Engine(model, EngineLimits(BATCH_TOKENS, decode_tokens=1))
    try:
        events = await draw(engine, wanted())
    finally:
        engine.close()
    assert not any(isinstance(event, Failed) for event in events), events
    (clip,) = results(events)
    assert isinstance(clip, Clip)
    assert clip.tiled
    _, sound = plain_clip(model, wanted())
    assert clip.sound is not None
    assert sound is not None
    assert largest_sound_difference(clip.sound, sound) <= SOUND_TOLERANCE


def test_guidance_leaves_out_the_attention_of_one_block() -> None:
    """The one of the documentation, which no tiny model has."""
    asked = FAMILIES["ltx-2.3"].arguments(wanted(guidance_scale=3.0))
    assert asked["spatio_temporal_guidance_blocks"] == [28]


@pytest.mark.parametrize("family", ["ltx-2", "ltx-2.3"])
def test_without_guidance_no_call_is_made_for_it(family: str) -> None:
    spec = FAMILIES[family]
    guided, unguided = (spec.arguments(wanted(guidance_scale=scale)) for scale in (3.0, 1.0))
    assert (guided["audio_guidance_scale"], guided["modality_scale"]) == (7.0, 3.0)
    # Of the sound, none stands for that of the video.
    assert (unguided["stg_scale"], unguided["modality_scale"], unguided["audio_guidance_scale"]) == (0, 1, None)
    tuned = wanted(audio_guidance_scale=5.0, modality_scale=2.0)
    assert tuning_arguments(spec, tuned) == {"audio_guidance_scale": 5.0, "modality_scale": 2.0}


async def test_the_shortest_clip_that_is_not_refused_has_sound(model: LoadedModel) -> None:
    fps = 49
    assert [model.family.least_frames(each) for each in (fps, fps + 1)] == [1, FRAMES]
    engine = Engine(model, EngineLimits(BATCH_TOKENS))
    try:
        (clip,) = results(await draw(engine, wanted(num_frames=1, fps=fps)))
    finally:
        engine.close()
    assert isinstance(clip, Clip)
    assert clip.sound is not None


def test_a_distilled_model_gets_the_steps_that_it_was_taught(tmp_path: Path) -> None:
    model = load_tiny("ltx-2.3-distilled", tmp_path)
    arguments = [model.family.arguments(wanted(num_inference_steps=steps)) for steps in (8, 4)]
    assert [arguments[0]["sigmas"][-1], "sigmas" in arguments[1]] == [0.421875, False]
    pipeline = model.pipelines[Task.TEXT_TO_VIDEO]
    pipeline.scheduler.set_timesteps(sigmas=arguments[0]["sigmas"])
    assert torch.allclose(pipeline.scheduler.sigmas[:-1], torch.tensor(arguments[0]["sigmas"]))
