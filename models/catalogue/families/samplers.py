"""The samplers of each kind of model."""

from __future__ import annotations

from models.catalogue.families.schedulers import Samplers, SchedulerSpec

_SDE = {"algorithm_type": "sde-dpmsolver++"}
# With more, a schedule rescaled to end in pure noise (`rescale_betas_zero_snr`) first steps upwards, giving NaN.
_NOISY_STEPS = 250

# By default, DDIM and DDPM clip to the range of pixels, which latents exceed.
DIFFUSION = Samplers(
    {
        "ddim": SchedulerSpec("DDIMScheduler", {"clip_sample": False}),
        "ddpm": SchedulerSpec("DDPMScheduler", {"clip_sample": False}),
        "deis": SchedulerSpec("DEISMultistepScheduler", {"algorithm_type": "deis", "solver_type": "logrho"}),
        "dpm2": SchedulerSpec("KDPM2DiscreteScheduler", labels=("k_dpm_2",)),
        "dpm2_a": SchedulerSpec(
            "KDPM2AncestralDiscreteScheduler",
            labels=("dpm_2_ancestral", "k_dpm_2_a", "k_dpm_2_ancestral"),
        ),
        "dpmpp_2m": SchedulerSpec(
            "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, labels=("k_dpmpp_2m",)
        ),
        "dpmpp_2m_sde": SchedulerSpec(
            "DPMSolverMultistepScheduler",
            {**_SDE, "solver_order": 2},
            max_steps=_NOISY_STEPS,
            labels=("k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
        ),
        "dpmpp_3m_sde": SchedulerSpec(
            "DPMSolverMultistepScheduler",
            {**_SDE, "solver_order": 3},
            max_steps=_NOISY_STEPS,
            labels=("k_dpmpp_3m_sde", "dpmpp_3m_sde_gpu"),
        ),
        "dpmpp_2s": SchedulerSpec("DPMSolverSinglestepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        "dpmpp_sde": SchedulerSpec(
            "DPMSolverSinglestepScheduler",
            {**_SDE, "solver_order": 2},
            labels=("k_dpmpp_sde", "dpmpp_sde_gpu", "DPMSolverSDEScheduler"),
        ),
        "euler": SchedulerSpec("EulerDiscreteScheduler", labels=("k_euler",)),
        # What models distilled to a few steps were trained with: the first step starts from pure noise.
        "euler_trailing": SchedulerSpec("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
        "euler_a": SchedulerSpec(
            "EulerAncestralDiscreteScheduler",
            max_steps=_NOISY_STEPS,
            labels=("euler_ancestral", "k_euler_a", "k_euler_ancestral"),
        ),
        "heun": SchedulerSpec("HeunDiscreteScheduler", labels=("k_heun",)),
        # It chooses among the 50 steps that the model was distilled from.
        "lcm": SchedulerSpec("LCMScheduler", {"original_inference_steps": 50}, max_steps=50),
        # It integrates numerically, which takes longer than denoising when there are many steps.
        "lms": SchedulerSpec("LMSDiscreteScheduler", max_steps=100, labels=("k_lms",)),
        "pndm": SchedulerSpec("PNDMScheduler", {"skip_prk_steps": True}, labels=("plms",)),
        "sa_solver": SchedulerSpec("SASolverScheduler"),
        "tcd": SchedulerSpec("TCDScheduler", {"original_inference_steps": 50}, max_steps=50),
        "unipc": SchedulerSpec("UniPCMultistepScheduler"),
    }
)
"""For models that predict noise or velocity along a diffusion's schedule."""

FLOW = Samplers({"flow_euler": SchedulerSpec("FlowMatchEulerDiscreteScheduler", labels=("euler",))})
"""For models trained by flow matching."""

_FLOW_SIGMAS = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW_MULTISTEP = Samplers(
    {
        "unipc": SchedulerSpec("UniPCMultistepScheduler", _FLOW_SIGMAS),
        "dpmpp_2m": SchedulerSpec("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", **_FLOW_SIGMAS}),
        "flow_euler": SchedulerSpec(
            "FlowMatchEulerDiscreteScheduler", renamed={"flow_shift": "shift"}, labels=("euler",)
        ),
    }
)
"""For models trained by flow matching whose checkpoints come with a multistep sampler, as Wan's do."""
