"""Samplers on Gaussian data N(mu, s^2), where the ODE and the SDE have known solutions."""

import math

import pytest
import torch

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.schedules import builtin_schedules, sigmas_for

SAMPLERS = {sampler.name: sampler for sampler in builtin_samplers()}
MU, S = 0.3, 1.0

# Measured order of convergence; UniPC and DEIS end with lower orders, PNDM starts with Heun and assumes equal steps.
ORDERS = {
    "euler": (0.9, 1.1),
    "euler_cfg_pp": (0.9, 1.1),
    "ddim": (0.9, 1.1),
    "heun": (1.9, 2.2),
    "dpm_2": (1.9, 2.2),
    "dpmpp_2m": (1.9, 2.2),
    "pndm": (1.9, 2.2),
    "uni_pc": (1.8, 3.2),
    "uni_pc_bh2": (1.8, 3.2),
    "deis": (2.1, 3.2),
    "lms": (2.3, 4.2),
    "res_multistep": (1.9, 2.2),
    "gradient_estimation": (0.9, 1.1),
    "ipndm": (1.9, 2.2),
    "ipndm_v": (0.5, 1.1),
    "heunpp2": (0.9, 1.1),
}


def posterior_mean(x, sigma):
    sigma = sigma.to(x.dtype)
    return (S**2 * x + sigma**2 * MU) / (S**2 + sigma**2)


def silent(*_):
    pass


def ode_error(sampler, steps):
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    sigmas = (10 ** (1 / 7) + ramp * (0.1 ** (1 / 7) - 10 ** (1 / 7))) ** 7
    x = torch.linspace(-30, 30, 64, dtype=torch.float64).reshape(1, 4, 4, 4)
    exact = MU + (x - MU) * ((S**2 + sigmas[-1] ** 2) / (S**2 + sigmas[0] ** 2)).sqrt()
    noise = step_noise("none", x.shape, 0, "per_item", sigmas)
    return (sampler.sample(posterior_mean, x, sigmas, noise, silent) - exact).norm().item()


def test_every_deterministic_sampler_has_an_order():
    assert set(ORDERS) == {name for name, sampler in SAMPLERS.items() if sampler.noise == "none"}


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_falls_with_the_order_of_the_method(name):
    coarse, fine = ode_error(SAMPLERS[name], 40), ode_error(SAMPLERS[name], 160)
    least, most = ORDERS[name]
    assert least <= math.log2(coarse / fine) / 2 <= most


def mean_and_std(sampler, denoised, table, steps):
    sigmas = sigmas_for(builtin_schedules()["karras"], steps, table, discard_penultimate=sampler.discard_penultimate)
    shape = (2, 4, 64, 64)
    x = MU + first_noise(shape, 5) * math.hypot(S, sigmas[0].item())
    noise = step_noise(sampler.noise, shape, 5, "per_item", sigmas)
    x = sampler.sample(denoised, x, sigmas, noise, silent)
    return x.mean().item(), x.std().item()


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.noise != "none"])
def test_a_stochastic_sampler_draws_from_the_data(name, table):
    denoised = posterior_mean if name != "lcm" else consistency_function
    mean, std = mean_and_std(SAMPLERS[name], denoised, table, steps=100 if SAMPLERS[name].noise == "brownian" else 200)
    assert mean == pytest.approx(MU, abs=0.02)
    assert std == pytest.approx(S, rel=0.025)


def consistency_function(x, sigma):
    """What LCM is made for: the end of the ODE's path through x, not the mean of all data."""
    return MU + (x - MU) * S / (S**2 + sigma**2).sqrt()
