"""What a request tunes: limited by the model, ignored with a hint where it cannot act, or refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from api.openai.videos.drafting import _frames
from api.openai.videos.forms import VideoForm
from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from core.generation.step_cache import StepCache
from core.generation.tuning import TUNING, Tuning
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.resolving.resolve import resolve
from models.catalogue.showing.capabilities import capabilities
from tests.support.resolving import LIMITS_OF_SERVER
from tests.support.servers.serving import ENTRY_FIELDS, photo


def entry_of(family: str, scheduler: str, **fields: Any) -> Entry:
    defaults = {**ENTRY_FIELDS["defaults"], "scheduler": scheduler, "num_frames": 5} | fields.pop("defaults", {})  # type: ignore[dict-item]
    if "video" not in fields:
        del defaults["num_frames"]
    limits = {**ENTRY_FIELDS["limits"], **fields.pop("limits", {})}  # type: ignore[dict-item]
    fields.pop("video", None)
    return Entry.model_validate(
        {
            **ENTRY_FIELDS,
            "id": family,
            "family": family,
            "source": {"path": "weights"},
            "defaults": defaults,
            "limits": limits,
            **fields,
        }
    )


UNTUNED = {name: Tuning.model_fields[name].default for name in TUNING}
VIDEO = {"video": True, "limits": {"max_frames": 9, "multiple_px": 16}}
SD = entry_of("stable-diffusion", "ddim")
SDXL = entry_of("stable-diffusion-xl", "euler")
SD3 = entry_of("stable-diffusion-3", "flow_euler", limits={"multiple_px": 16})
FLUX = entry_of("flux", "flow_euler", limits={"multiple_px": 16})
WAN = entry_of("wan", "unipc", **VIDEO)
LTX_VIDEO = {"video": True, "defaults": {"num_frames": 9}, "limits": {"max_frames": 9, "multiple_px": 32}}
LTX_2 = entry_of("ltx-2", "flow_euler", **LTX_VIDEO)
LTX_2_3 = entry_of("ltx-2.3", "flow_euler", **LTX_VIDEO)
LTX_2_3_DISTILLED = entry_of("ltx-2.3-distilled", "flow_euler", **LTX_VIDEO)
WAN_22 = entry_of("wan", "unipc", low_noise_expert=True, **VIDEO)


def refusal_of(entry: Entry, **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        resolved(entry, **fields)
    return refused.value.message


def resolved(entry: Entry, **fields: Any) -> GenerationRequest:
    task = next(iter(entry.tasks))
    return resolve(Draft(**{"prompt": "an apple", "task": task, **fields}), Catalogue([entry]), LIMITS_OF_SERVER)


TAKEN: list[tuple[Entry, dict[str, Any]]] = [
    (SD, {"clip_skip": 1}),
    (SD, {"guidance_rescale": 0.7}),
    (SD, {"eta": 1.0}),
    (SDXL, {"prompt_2": "oil painting", "negative_prompt_2": "blurry"}),
    (SDXL, {"sigmas": (14.6, 6.3, 0.03)}),
    (SDXL, {"timesteps": (999, 500, 20)}),
    (SD3, {"max_sequence_length": 77}),
    (SD3, {"flow_shift": 5.0}),
    (FLUX, {"max_sequence_length": 512, "prompt_2": "a pear"}),
    (FLUX, {"sigmas": (1.0, 0.5)}),
    (WAN, {"flow_shift": 8.0}),
    (WAN_22, {"guidance_scale_2": 2.0}),
    (LTX_2, {"audio_guidance_scale": 5.0, "modality_scale": 2.0, "guidance_rescale": 0.5}),
    (LTX_2_3, {"stg_scale": 0.5}),
]


@pytest.mark.parametrize(("entry", "fields"), TAKEN)
def test_what_a_model_has_reaches_the_request(entry: Entry, fields: dict[str, Any]) -> None:
    request = resolved(entry, **fields)
    assert request.hints == ()
    assert {name: getattr(request, name) for name in fields} == fields


def test_left_alone_nothing_is_tuned() -> None:
    request = resolved(SDXL)
    assert {name: getattr(request, name) for name in TUNING} == UNTUNED


def test_a_model_may_have_been_trained_on_another_number_of_tokens() -> None:
    entry = entry_of(
        "stable-diffusion-3", "flow_euler", defaults={"max_sequence_length": 1}, limits={"multiple_px": 16}
    )
    lengths = {given: resolved(entry, max_sequence_length=given).max_sequence_length for given in (None, 1, 77)}
    assert lengths == {None: 1, 1: 1, 77: 77}
    with pytest.raises(InvalidRequest, match="2 is not between 16 and 512"):
        resolved(entry, max_sequence_length=2)
    assert capabilities(entry)["tasks"]["inpaint"]["defaults"]["max_sequence_length"] == 1
    assert "max_sequence_length" not in capabilities(SD3)["tasks"]["inpaint"]["defaults"]


IGNORED: list[tuple[Entry, dict[str, Any], str]] = [
    (FLUX, {"clip_skip": 1}, "clip_skip is ignored: flux has no input for it"),
    (SD3, {"guidance_rescale": 0.5}, "guidance_rescale is ignored: stable-diffusion-3 has no input for it"),
    (SD, {"task": Task.IMAGE_TO_IMAGE, "image": photo(), "guidance_rescale": 0.5}, "guidance_rescale is ignored"),
    (SD, {"guidance_scale": 1, "guidance_rescale": 0.5}, "guidance_rescale is ignored: a guidance_scale this small"),
    (SDXL, {"eta": 0.5}, "eta is ignored: euler adds none"),
    (SD, {"flow_shift": 3}, "flow_shift is ignored: stable-diffusion follows no flow"),
    (SD, {"max_sequence_length": 100}, "max_sequence_length is ignored: stable-diffusion has no input for it"),
    (SD, {"negative_prompt_2": "blurry"}, "negative_prompt_2 is ignored: stable-diffusion has no input for it"),
    (LTX_2, {"stg_scale": 0.5}, "stg_scale is ignored: ltx-2 has no input for it"),
    (LTX_2_3, {"stg_scale": 0.5, "guidance_scale": 1}, "stg_scale is ignored: a guidance_scale this small"),
    (LTX_2_3_DISTILLED, {"stg_scale": 0.5}, "stg_scale is ignored: ltx-2.3-distilled has no input for it"),
    (LTX_2_3_DISTILLED, {"audio_guidance_scale": 7}, "audio_guidance_scale is ignored: ltx-2.3-distilled has no input"),
    (WAN, {"modality_scale": 2}, "modality_scale is ignored: wan has no input for it"),
    (WAN, {"guidance_scale_2": 2}, "guidance_scale_2 is ignored: wan has one model for all noise"),
]


@pytest.mark.parametrize(("entry", "fields", "hint"), IGNORED)
def test_what_cannot_act_is_ignored_with_a_hint(entry: Entry, fields: dict[str, Any], hint: str) -> None:
    request = resolved(entry, **fields)
    assert [each for each in request.hints if each.startswith(hint)]
    assert {name: getattr(request, name) for name in TUNING} == UNTUNED


REFUSED: list[tuple[Entry, dict[str, Any], str, str]] = [
    (SD, {"prompt_2": "a pear"}, "prompt_2", "has no second text encoder"),
    (SDXL, {"prompt_2": "x" * 101}, "prompt_2", "has 101 characters; at most 100"),
    (SD3, {"timesteps": (900, 100)}, "timesteps", "stable-diffusion-3 takes none for text-to-image"),
    (SDXL, {"scheduler": "unipc", "timesteps": (900, 100)}, "timesteps", "unipc takes none; these samplers do: ddpm,"),
    (SDXL, {"scheduler": "euler_karras", "sigmas": (9, 1)}, "sigmas", "euler_karras takes none"),
    (SDXL, {"sigmas": (1, 9)}, "sigmas", "must fall from step to step"),
    (SDXL, {"sigmas": (0,)}, "sigmas", "0.0 is not between 1e-06 and 1000"),
    (SDXL, {"sigmas": (9, 1e-40)}, "sigmas", "1e-40 is not between 1e-06 and 1000"),
    (FLUX, {"sigmas": (1, 1e-40, 0)}, "sigmas", "1e-40 is not between 1e-06 and 1"),
    (SDXL, {"sigmas": (9, 1), "timesteps": (9, 1)}, "timesteps", "together with sigmas"),
    (SDXL, {"sigmas": (9, 1), "num_inference_steps": 3}, "sigmas", "are 2, but num_inference_steps is 3"),
    (SDXL, {"timesteps": (1000, 1)}, "timesteps", "1000.0 is not between 0 and 999"),
    (SDXL, {"timesteps": (10.5, 1)}, "timesteps", "whole numbers"),
    (FLUX, {"sigmas": (1.5, 1)}, "sigmas", "1.5 is not between 1e-06 and 1"),
    (FLUX, {"max_sequence_length": 513}, "max_sequence_length", "513 is not between 16 and 512"),
    (WAN_22, {"guidance_scale_2": 99}, "guidance_scale_2", "99.0 is not between"),
]


@pytest.mark.parametrize(("entry", "fields", "field", "message"), REFUSED)
def test_what_is_wrong_or_says_what_to_generate_is_refused(
    entry: Entry, fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(entry, **fields)
    assert refused.value.field == field
    assert message in str(refused.value)


def test_steps_given_one_by_one_are_counted() -> None:
    request = resolved(SDXL, sigmas=(14.6, 6.3, 0.03, 0))
    assert (request.num_inference_steps, request.sigmas) == (3, (14.6, 6.3, 0.03))


def test_forms_write_numbers_between_commas() -> None:
    for text in ("14.6, 6.3", "[14.6, 6.3]"):
        assert Draft(prompt="an apple", sigmas=text).sigmas == (14.6, 6.3)


def test_callers_are_told_what_has_an_effect() -> None:
    tasks = capabilities(SD)["tasks"]
    assert tasks["text-to-image"]["tuning"] == [
        "clip_skip",
        "eta",
        "guidance_end",
        "guidance_rescale",
        "sigmas",
        "timesteps",
    ]
    assert tasks["inpaint"]["tuning"] == ["clip_skip", "eta", "guidance_end", "sigmas", "timesteps"]
    assert capabilities(WAN_22)["tasks"]["text-to-video"]["tuning"] == [
        "flow_shift",
        "guidance_end",
        "guidance_scale_2",
        "max_sequence_length",
    ]


def test_guidance_that_has_no_other_half_cannot_end() -> None:
    assert resolved(SD, guidance_end=0.5).guidance_end == 0.5
    request = resolved(FLUX, guidance_end=0.5)
    assert request.guidance_end == 1
    assert request.hints == ("guidance_end is ignored: flux has no unguided half to leave out",)
    assert resolved(SD, guidance_end=0.5, guidance_scale=1.0).hints == (
        "guidance_end is ignored: a guidance_scale this small is no guidance",
    )


def test_steps_are_cached_as_the_server_says_unless_the_request_does() -> None:
    limits = replace(LIMITS_OF_SERVER, step_cache=StepCache.AUTO)
    drafts = {step_cache: Draft(prompt="an apple", step_cache=step_cache) for step_cache in (None, "off", "fast")}
    found = {name: resolve(draft, Catalogue([SD]), limits).step_cache for name, draft in drafts.items()}
    assert found == {None: StepCache.AUTO, "off": StepCache.OFF, "fast": StepCache.FAST}


def test_what_depends_on_the_moment_is_not_reproducible() -> None:
    draft = Draft(prompt="an apple", step_cache=StepCache.AUTO, reproducible=True)
    assert resolve(draft, Catalogue([SD]), LIMITS_OF_SERVER).step_cache is StepCache.OFF


def test_a_model_without_steps_can_do_without_a_cache() -> None:
    tasks = {Task.TEXT_TO_IMAGE: {"pipeline": "AuraFlowPipeline", "arguments": ["prompt", "num_inference_steps"]}}
    entry = entry_of("generic", "checkpoint", pipeline={"tasks": tasks, "scheduler": "EulerDiscreteScheduler"})
    # What its files say.
    assert resolved(entry, step_cache=StepCache.OFF).hints == ()
    request = resolved(entry, step_cache=StepCache.FAST)
    assert (request.step_cache, request.hints) == (
        StepCache.OFF,
        (f"step_cache is ignored: {entry.id} generates in one piece",),
    )


@pytest.mark.parametrize("family", ["ltx-2", "ltx-2.3-distilled"])
def test_a_clip_too_short_for_its_sound_is_refused_with_the_fewest_frames(family: str) -> None:
    entry = entry_of(family, "flow_euler", **LTX_VIDEO)
    assert resolved(entry, num_frames=1, fps=49).num_frames == 1
    assert (
        refusal_of(entry, num_frames=1, fps=50) == f"num_frames: 1 at 50 a second is too short for {family}; at least 9"
    )
    form = VideoForm(prompt="an apple", seconds=0.01, fps=50)
    assert _frames(form, entry, Task.TEXT_TO_VIDEO) == 9
    assert _frames(form.model_copy(update={"fps": 24}), entry, Task.TEXT_TO_VIDEO) == 1


def test_an_entry_whose_own_clips_are_too_short_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"defaults\.num_frames: 1 is less than 9"):
        entry_of("ltx-2", "flow_euler", **{**LTX_VIDEO, "defaults": {"num_frames": 1, "fps": 50}})
