"""Samplers by name: every label that people type is one id."""

from __future__ import annotations

import pytest

from models.catalogue.families.samplers import DIFFUSION, FLOW, FLOW_MULTISTEP
from models.catalogue.families.schedulers import Samplers


@pytest.mark.parametrize("samplers", [DIFFUSION, FLOW, FLOW_MULTISTEP])
def test_every_id_is_found_by_itself(samplers: Samplers) -> None:
    assert {name: samplers.find(name) for name in samplers} == {name: name for name in samplers}


@pytest.mark.parametrize(
    ("label", "name"),
    [
        # As the web UI labels them.
        ("DPM++ 2M", "dpmpp_2m"),
        ("DPM++ 2M Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M SDE", "dpmpp_2m_sde"),
        ("DPM++ 2M SDE Karras", "dpmpp_2m_sde_karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde_exponential"),
        ("DPM++ 3M SDE Karras", "dpmpp_3m_sde_karras"),
        ("DPM++ SDE", "dpmpp_sde"),
        ("DPM++ SDE Karras", "dpmpp_sde_karras"),
        ("DPM2", "dpm2"),
        ("DPM2 a Karras", "dpm2_a_karras"),
        ("Euler", "euler"),
        ("Euler a", "euler_a"),
        ("Heun", "heun"),
        ("LMS Karras", "lms_karras"),
        ("DDIM", "ddim"),
        ("PLMS", "pndm"),
        ("UniPC", "unipc"),
        ("DEIS", "deis"),
        ("LCM", "lcm"),
        ("TCD", "tcd"),
        ("Euler SGM Uniform", "euler_sgm_uniform"),
        ("DPM++ 2M Beta", "dpmpp_2m_beta"),
        # As node editors do.
        ("euler_ancestral", "euler_a"),
        ("dpm_2_ancestral", "dpm2_a"),
        ("dpmpp_2m_sde_gpu", "dpmpp_2m_sde"),
        ("uni_pc", "unipc"),
        # As diffusers calls the classes.
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("EulerDiscreteScheduler", "euler"),
        ("EulerAncestralDiscrete", "euler_a"),
        ("KDPM2DiscreteScheduler", "dpm2"),
        ("DPMSolverSDEScheduler", "dpmpp_sde"),
        # However it is typed; `+` is a space in an address.
        ("dpm++2m karras", "dpmpp_2m_karras"),
        ("DPM   2M Karras", "dpmpp_2m_karras"),
        ("DPM++ 2M + karras", "dpmpp_2m_karras"),
        (" EULER-A ", "euler_a"),
    ],
)
def test_people_type_names_in_many_ways(label: str, name: str) -> None:
    assert DIFFUSION.find(label) == name


@pytest.mark.parametrize("label", ["Euler", "FlowMatchEulerDiscreteScheduler", "flow_euler"])
@pytest.mark.parametrize("samplers", [FLOW, FLOW_MULTISTEP])
def test_a_name_is_that_of_the_familys_own_sampler(samplers: Samplers, label: str) -> None:
    assert samplers.find(label) == "flow_euler"


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("lcm_karras", "lcm does not take karras; it takes: no schedule"),
        ("DDIM Beta", "ddim does not take beta; it takes: sgm_uniform"),
        ("DPM++ 2S a", "'DPM++ 2S a' is unknown; known: ddim, "),
        ("heum", "did you mean 'heun'?"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(name: str, mistake: str) -> None:
    assert DIFFUSION.find(name) is None
    assert mistake in DIFFUSION.mistake(name)


def test_a_schedule_of_noise_is_none_of_a_sampler_that_follows_a_flow() -> None:
    assert FLOW_MULTISTEP.schedules == {
        "dpmpp_2m": (),
        "flow_euler": ("karras", "exponential", "beta"),
        "unipc": (),
    }
