"""Flow matching: sigmas beside diffusers', and samplers on a flow whose exact denoiser is known."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine import Model
from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.coordinates import MOST_NOISE
from latentloom.nodes.diffusion.flow import Flow, flow_table, shift_of, stretched
from latentloom.nodes.diffusion.guidance import masked, restored
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.prediction import fitted
from latentloom.nodes.diffusion.schedules import beta, normal, sgm_uniform, sigmas_for, simple
from latentloom.nodes.diffusion.space import finished, space_of

SIZE = {"by": "size", "low": [256, 0.5], "high": [4096, 1.15], "patch": 2, "count": 10_000}
STATIC = {"shift": 3.0}
MEAN, DEVIATION = 0.7, 0.5


def known(steps, sigmas=None, mu=None, **config):
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    scheduler.set_timesteps(None if sigmas is not None else steps, sigmas=sigmas, mu=mu)
    return scheduler.sigmas


@pytest.mark.parametrize("steps", [4, 8, 20, 25])
def test_simple_is_the_grid_of_the_pipelines(steps):
    grid = [1 - n / steps for n in range(steps)]
    assert torch.allclose(
        simple(steps, flow_table(STATIC, (128, 128), steps)), known(steps, grid, shift=3.0), atol=1e-6
    )
    mu = math.log(shift_of(SIZE, (128, 96), steps))
    expected = known(steps, grid, mu, use_dynamic_shifting=True)
    assert torch.allclose(simple(steps, flow_table(SIZE, (128, 96), steps)), expected, atol=1e-6)


@pytest.mark.parametrize("steps", [7, 28, 30])
def test_simple_takes_the_nearest_of_the_table_where_steps_do_not_divide_it(steps):
    grid = [1 - n / steps for n in range(steps)]
    assert torch.allclose(
        simple(steps, flow_table(STATIC, (128, 128), steps)), known(steps, grid, shift=3.0), atol=3e-3
    )


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 4, 28])
def test_sgm_uniform_is_the_default_of_diffusers_scheduler_without_its_last_step(steps, shift):
    """Stability AI's: times evenly spaced down to the smallest, which is left out."""
    expected = torch.cat([known(steps + 1, shift=shift)[:steps], torch.zeros(1)])
    assert torch.allclose(sgm_uniform(steps, flow_table({"shift": shift}, (128, 128), steps)), expected, atol=1e-6)


@pytest.mark.parametrize("steps", [4, 9, 28])
def test_normal_is_the_default_of_diffusers_scheduler(steps):
    table = flow_table(STATIC, (128, 128), steps)
    assert torch.allclose(normal(steps, table), known(steps, shift=3.0), atol=1e-6)


def test_beta_takes_quantiles_of_the_table():
    table = flow_table(STATIC, (128, 128), 20)
    found = beta(20, table)
    assert found[0] == 1
    assert found[-1] == 0
    assert all(bool(torch.isclose(table.float(), sigma).any()) for sigma in found[:-1])


@pytest.mark.parametrize("tokens", [64, 256, 1024, 4096, 5000])
@pytest.mark.parametrize("steps", [4, 28, 50])
def test_the_shift_by_size_and_steps_is_that_of_flux_2(tokens, steps):
    rule = {"by": "size_and_steps", "patch": 1}
    assert math.log(shift_of(rule, (tokens, 1), steps)) == pytest.approx(compute_empirical_mu(tokens, steps))


def test_a_terminal_sigma_is_that_of_diffusers():
    steps = 20
    facts = {"prediction": "flow", "shift": {**SIZE, "low": [256, 0.5], "high": [8192, 0.9], "terminal": 0.02}}
    table = space_of(Model("none", [], {**facts, "size": 128}), (128, 128), steps).table
    mu = math.log(shift_of(facts["shift"], (128, 128), steps))
    grid = [1 - n / steps for n in range(steps)]
    expected = known(steps, grid, mu, use_dynamic_shifting=True, shift_terminal=0.02)
    assert torch.allclose(finished(facts, simple(steps, table)), expected, atol=1e-6)


def test_a_single_step_is_not_stretched():
    assert torch.equal(stretched(torch.tensor([1.0, 0.0]), 0.02), torch.tensor([1.0, 0.0]))


@given(st.floats(0.1, 20), st.integers(1, 60))
def test_sigmas_fall_from_one_to_zero(shift, steps):
    for schedule in (simple, normal, sgm_uniform, beta):
        sigmas = schedule(steps, flow_table({"shift": shift}, (8, 8), steps))
        assert sigmas[0] == 1
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


def gaussian(x, sigma):
    """E[x0 | x] where x0 ~ N(MEAN, DEVIATION^2)."""
    a, b, s = 1 - sigma, sigma, DEVIATION**2
    return MEAN + s * a * (x - a * MEAN) / (a * a * s + b * b)


@pytest.mark.parametrize("sampler", builtin_samplers(), ids=lambda sampler: sampler.name)
@pytest.mark.parametrize("schedule", [simple, beta])
def test_every_sampler_keeps_the_mean_of_a_gaussian(sampler, schedule):
    space = Flow(flow_table(STATIC, (8, 8), 20))
    sigmas = sigmas_for(schedule, 20, space.table, discard_penultimate=sampler.discard_penultimate)
    way = space.coordinates(sigmas, stochastic=sampler.noise != "none")
    shape, calls = (1, 1, 1, 100_000), []
    noise = step_noise(sampler.noise, shape, 1, "per_item", way.sigmas, largest=way.largest)

    def denoised(x, sigma):
        calls.append(float(sigma))
        return gaussian(x, float(sigma))

    x = way.enter(space.start(torch.zeros(shape), first_noise(shape, 2), float(sigmas[0])))
    x = way.leave(sampler.sample(way.denoised(denoised), x, way.sigmas, noise, lambda *_: None))
    # the weights of ipndm_v are not exact where steps grow
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.03 if sampler.name == "ipndm_v" else 0.02)
    # lcm is made for a consistency model: a mean for an answer narrows what comes out
    if schedule is simple and sampler.name != "lcm":
        assert float(x.std()) == pytest.approx(DEVIATION, abs=0.12)
    assert all(0 < sigma <= 1 for sigma in calls)


def test_in_its_own_variables_an_ancestral_sampler_loses_the_mean():
    """What the coordinates are for: this is the fault that they mend."""
    sampler = next(one for one in builtin_samplers() if one.name == "euler_ancestral")
    sigmas, shape = simple(20, flow_table(STATIC, (8, 8), 20)), (1, 1, 1, 100_000)
    noise = step_noise(sampler.noise, shape, 1, "per_item", sigmas)
    x = sampler.sample(lambda x, s: gaussian(x, float(s)), first_noise(shape, 2), sigmas, noise, lambda *_: None)
    assert abs(float(x.mean()) - MEAN) > 0.2


def test_a_run_in_two_parts_is_the_whole_run():
    space, latent, noise = Flow(flow_table(STATIC, (8, 8), 8)), torch.zeros(1, 1, 4, 4), first_noise((1, 1, 4, 4), 3)
    euler = next(one.sample for one in builtin_samplers() if one.name == "euler")
    sigmas = simple(8, space.table)

    def part(latent, noise, sigmas):
        x = space.start(latent, noise, float(sigmas[0]))
        x = euler(lambda x, s: gaussian(x, float(s)), x, sigmas, lambda *_: None, lambda *_: None)
        return space.left(x, float(sigmas[-1]))

    first = part(latent, noise, sigmas[:4])
    assert torch.allclose(part(first, torch.zeros_like(noise), sigmas[3:]), part(latent, noise, sigmas), atol=1e-5)


def test_the_noise_left_at_pure_noise_is_finite():
    space = Flow(flow_table(STATIC, (8, 8), 8))
    assert space.level(1.0) == pytest.approx(MOST_NOISE / (1 - MOST_NOISE))
    assert space.left(torch.ones(1), 1.0).isfinite().all()


def test_noise_that_was_added_at_pure_noise_is_what_a_run_starts_from():
    space, noise = Flow(flow_table(STATIC, (8, 8), 8)), first_noise((1, 1, 4, 4), 3)
    latent = torch.ones(1, 1, 4, 4) + space.level(1.0) * noise
    assert torch.allclose(space.start(latent, torch.zeros_like(noise), 1.0), noise, atol=1e-3)


@pytest.mark.parametrize("sampler", builtin_samplers(), ids=lambda sampler: sampler.name)
def test_a_masked_run_keeps_the_latent_bit_for_bit_on_a_flow(sampler):
    space = Flow(flow_table(STATIC, (8, 8), 6))
    latent, noise = first_noise((1, 2, 8, 8), 5), first_noise((1, 2, 8, 8), 6)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6] = 1
    sigmas = sigmas_for(simple, 6, space.table, discard_penultimate=sampler.discard_penultimate)
    way = space.coordinates(sigmas, stochastic=sampler.noise != "none")
    denoised = masked(lambda x, s: gaussian(x, float(s)), mask, latent, lambda s: space.noised(latent, noise, s))
    steps = step_noise(sampler.noise, latent.shape, 1, "per_item", way.sigmas, largest=way.largest)
    x = way.enter(space.start(latent, noise, float(sigmas[0])))
    x = restored(way.leave(sampler.sample(way.denoised(denoised), x, way.sigmas, steps, lambda *_: None)), mask, latent)
    kept = (mask == 0).expand_as(latent)
    assert torch.equal(x[kept], latent[kept])
    assert x.isfinite().all()
    assert (x != latent)[~kept].all()


def test_the_velocity_and_back():
    space, x, x0 = Flow(flow_table(STATIC, (8, 8), 6)), torch.randn(2, 3), torch.randn(2, 3)
    assert torch.allclose(space.from_velocity(x, space.velocity(x, x0, 0.3), 0.3), x0, atol=1e-6)


def test_prompts_of_unlike_length_are_padded_with_a_mask():
    conditions = [{"prompt": torch.ones(1, n, 3), "prompt_mask": torch.ones(1, n)} for n in (2, 5)]
    short, long = fitted(conditions)
    assert short["prompt_mask"].tolist() == [[1, 1, 0, 0, 0]]
    assert short["prompt"].shape == long["prompt"].shape == (1, 5, 3)
    assert torch.equal(short["prompt"][:, 2:], torch.zeros(1, 3, 3))
    assert torch.equal(long["prompt"], conditions[1]["prompt"])


def test_prompts_without_a_mask_go_separately_where_their_lengths_differ():
    assert fitted([{"prompt": torch.ones(1, n, 3)} for n in (2, 5)]) is None
