"""Samplers with schedules against the diffusers schedulers that mean the same, on one analytic model.

Both start from the same x. diffusers feeds fractional timesteps to the model where sigmas lie between the table's,
we feed the nearest integer: that is most of the distances of 1e-3.
"""

from collections.abc import Callable
from dataclasses import replace

import diffusers
import pytest
import torch

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.prediction import initial_latent, prediction
from latentloom.nodes.diffusion.schedules import builtin_schedules, sigmas_for
from latentloom.nodes.diffusion.timeline import Moment

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SAMPLERS = {sampler.name: sampler for sampler in builtin_samplers()}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHAPE, SEED = (1, 4, 32, 32), 42


def eps(x, t, **_):
    t = torch.as_tensor(t, dtype=torch.float32).reshape(-1)[0]
    return 0.9 * x + 0.2 * torch.sin(3 * x + t / 100)


def ours(sampler, schedule, steps, table):
    sigmas = sigmas_for(builtin_schedules()[schedule], steps, table, discard_penultimate=sampler.discard_penultimate)
    noise = first_noise(SHAPE, SEED, "comfyui")
    x = initial_latent(noise, torch.zeros(SHAPE), sigmas[0], table[-1])
    predict = prediction(eps, "epsilon", table)
    draw = step_noise(sampler.noise, SHAPE, SEED, "comfyui_0_3", sigmas)

    def denoised(x, sigma):
        return predict(x, Moment(sigma.item()), {})

    return sampler.sample(denoised, x, sigmas, draw, lambda *_: None), x, sigmas


def theirs(scheduler, steps, x, *, generator):
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        output = eps(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(output, t, x, **({"generator": generator} if generator else {})).prev_sample
    return x


def distance(scheduler, sampler, schedule, steps, table, *, scaled):
    """Relative distance of the results; `scaled` says that the scheduler's x is x / sqrt(sigma^2 + 1)."""
    result, x, sigmas = ours(sampler, schedule, steps, table)
    x = x / (sigmas[0] ** 2 + 1).sqrt() if scaled else x
    generator = torch.Generator().manual_seed(SEED) if sampler.noise == "gaussian" else None
    return ((theirs(scheduler, steps, x, generator=generator) - result).norm() / result.norm()).item()


Make = Callable[..., diffusers.SchedulerMixin]

IN_SIGMA: list[tuple[str, str, Make, dict, float]] = [
    ("euler", "simple", diffusers.EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, 1e-6),
    (
        "euler",
        "ddim_uniform",
        diffusers.EulerDiscreteScheduler,
        {"timestep_spacing": "leading", "steps_offset": 1},
        1e-6,
    ),
    ("euler", "normal", diffusers.EulerDiscreteScheduler, {"timestep_spacing": "linspace"}, 1e-3),
    ("euler", "karras", diffusers.EulerDiscreteScheduler, {"use_karras_sigmas": True}, 1e-3),
    ("euler", "exponential", diffusers.EulerDiscreteScheduler, {"use_exponential_sigmas": True}, 1e-3),
    ("euler", "sgm_uniform", diffusers.EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, 1e-3),
    ("heun", "normal", diffusers.HeunDiscreteScheduler, {"timestep_spacing": "linspace"}, 1e-3),
    ("heun", "karras", diffusers.HeunDiscreteScheduler, {"use_karras_sigmas": True}, 1e-3),
    ("euler_ancestral", "normal", diffusers.EulerAncestralDiscreteScheduler, {"timestep_spacing": "linspace"}, 1e-3),
    ("lms", "normal", diffusers.LMSDiscreteScheduler, {"timestep_spacing": "linspace"}, 1.5e-3),
    ("lms", "karras", diffusers.LMSDiscreteScheduler, {"use_karras_sigmas": True}, 1e-3),
]
DPM = diffusers.DPMSolverMultistepScheduler
SCALED: list[tuple[str, str, Make, dict, float]] = [
    ("ddim", "simple", diffusers.DDIMScheduler, {"timestep_spacing": "trailing", "clip_sample": False}, 1e-6),
    ("dpmpp_2m", "karras", DPM, {"use_karras_sigmas": True, "final_sigmas_type": "zero"}, 2e-6),
    ("dpmpp_2m", "exponential", DPM, {"use_exponential_sigmas": True, "final_sigmas_type": "zero"}, 3e-3),
    ("ddpm", "normal", diffusers.DDPMScheduler, {"timestep_spacing": "linspace", "clip_sample": False}, 5e-3),
    (
        "pndm",
        "simple",
        diffusers.PNDMScheduler,
        {"timestep_spacing": "trailing", "skip_prk_steps": True, "set_alpha_to_one": True},
        2e-6,
    ),
    (
        "lcm",
        "simple",
        diffusers.LCMScheduler,
        {"original_inference_steps": 1000, "clip_sample": False, "set_alpha_to_one": True},
        2e-6,
    ),
]


def name(case):
    return case if isinstance(case, str) else ""


@pytest.mark.parametrize("steps", [8, 20])
@pytest.mark.parametrize(("sampler", "schedule", "scheduler", "options", "tolerance"), IN_SIGMA, ids=name)
def test_it_agrees_with_the_scheduler_in_sigma(sampler, schedule, scheduler, options, tolerance, steps, table):
    assert distance(scheduler(**BETAS, **options), SAMPLERS[sampler], schedule, steps, table, scaled=False) <= tolerance


@pytest.mark.parametrize("steps", [8, 20])
@pytest.mark.parametrize(("sampler", "schedule", "scheduler", "options", "tolerance"), SCALED, ids=name)
def test_it_agrees_with_the_scheduler_of_scaled_x(sampler, schedule, scheduler, options, tolerance, steps, table):
    assert distance(scheduler(**BETAS, **options), SAMPLERS[sampler], schedule, steps, table, scaled=True) <= tolerance


@pytest.mark.parametrize("steps", [8, 20])
def test_uni_pc_bh2_agrees_with_the_scheduler_of_order_3_on_the_same_sigmas(steps, table):
    """The scheduler ends at 0, ours at 2^-10."""
    scheduler = diffusers.UniPCMultistepScheduler(
        **BETAS, use_karras_sigmas=True, solver_order=3, solver_type="bh2", final_sigmas_type="zero"
    )
    sampler = replace(SAMPLERS["uni_pc_bh2"], discard_penultimate=False)
    assert distance(scheduler, sampler, "karras", steps, table, scaled=True) <= 3e-3
