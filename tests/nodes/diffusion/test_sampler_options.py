"""What samplers take beside their sigmas: eta, s_noise and churn."""

import math

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.sampler import MOST_CHURN
from latentloom.nodes.diffusion.schedules import builtin_schedules, scaled_linear_table, sigmas_for

TABLE = scaled_linear_table()
SAMPLERS = {sampler.name: sampler for sampler in builtin_samplers()}
SHAPE = (1, 4, 16, 16)


def sigmas_of(name, steps=10):
    discard = SAMPLERS[name].discard_penultimate
    return sigmas_for(builtin_schedules()["karras"], steps, TABLE, discard_penultimate=discard)


def run(name, denoised, steps=10, shape=SHAPE, sigmas=None, scale=None, **options):
    sigmas = sigmas_of(name, steps) if sigmas is None else sigmas
    kind = "gaussian" if options.get("churn") else SAMPLERS[name].noise
    noise = step_noise(kind, shape, 3, "per_item", sigmas)
    x = first_noise(shape, 3) * (float(sigmas[0]) if scale is None else scale)
    return SAMPLERS[name].sample(denoised, x, sigmas, noise, lambda *_: None, **options)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("euler_ancestral", "euler"),
        ("dpm_2_ancestral", "dpm_2"),
        ("dpmpp_2m_sde", "dpmpp_2m"),
        ("dpmpp_sde", "dpmpp_2s_ancestral"),
    ],
)
def test_eta_0_is_the_sampler_without_noise(name, known, reference_model):
    options = {"eta": 0.0} if "eta" in SAMPLERS[known].options else {}
    found = run(name, reference_model, eta=0.0)
    torch.testing.assert_close(found, run(known, reference_model, **options), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if "eta" in sampler.options])
@settings(deadline=None, max_examples=5)
@given(eta=st.floats(0, 1))
def test_whatever_eta_is_the_results_spread_as_the_data(name, eta):
    """On data that is a Gaussian of deviation 1, with its own denoiser and many steps."""

    def denoised(x, sigma):
        return x / (1 + float(sigma) ** 2)

    scale = math.sqrt(float(TABLE[-1]) ** 2 + 1)
    found = run(name, denoised, 120, (1, 4, 48, 48), scale=scale, eta=eta)
    assert found.std().item() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if "churn" in sampler.options])
def test_with_churn_the_results_spread_as_the_data(name):
    def denoised(x, sigma):
        return x / (1 + float(sigma) ** 2)

    scale = math.sqrt(float(TABLE[-1]) ** 2 + 1)
    found = run(name, denoised, 200, (1, 4, 48, 48), scale=scale, churn=0.05)
    assert found.std().item() == pytest.approx(1, abs=0.05)


def test_s_noise_scales_the_noise(reference_model):
    none, half, one = (run("euler_ancestral", lambda x, sigma: x * 0, s_noise=s) for s in (0.0, 0.5, 1.0))
    torch.testing.assert_close(half - none, (one - none) / 2)


def test_options_that_say_nothing_change_nothing(reference_model):
    for name, sampler in SAMPLERS.items():
        said = {option: {"churn": 0.0}.get(option, 1.0) for option in sampler.options}
        assert torch.equal(run(name, reference_model, **said), run(name, reference_model))


@pytest.mark.parametrize(("churn", "s_noise"), [(4.0, 1.0), (40.0, 1.003)])
def test_churn_is_that_of_the_scheduler(churn, s_noise, monkeypatch):
    """Karras et al. 2022, algorithm 2, as diffusers' Euler scheduler has it, with the same noise."""
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(8)
    sigmas = scheduler.sigmas.float()
    eps = [first_noise(SHAPE, 20 + i) for i in range(8)]
    drawn = iter([first_noise(SHAPE, 40 + i) for i in range(8)])
    monkeypatch.setattr("diffusers.schedulers.scheduling_euler_discrete.randn_tensor", lambda *_, **__: next(drawn))
    known = first_noise(SHAPE, 3) * sigmas[0]
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(known, t)
        known = scheduler.step(eps[i], t, known, s_churn=churn, s_noise=s_noise).prev_sample
    calls = iter(eps)
    again = iter([first_noise(SHAPE, 40 + i) for i in range(8)])
    found = SAMPLERS["euler"].sample(
        lambda x, sigma: x - sigma.item() * next(calls),
        first_noise(SHAPE, 3) * sigmas[0],
        sigmas,
        lambda *_: next(again),
        lambda *_: None,
        churn=min(churn / 8, MOST_CHURN),
        s_noise=s_noise,
    )
    torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-4)
