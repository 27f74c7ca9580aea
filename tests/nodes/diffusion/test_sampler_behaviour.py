"""What every sampler owes its caller, whatever its method."""

import pytest
import torch

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.guidance import guided, masked
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.prediction import prediction
from latentloom.nodes.diffusion.schedules import builtin_schedules, sigmas_for

SAMPLERS = builtin_samplers()
SHAPE = (2, 4, 8, 8)
STEPS = 6

each_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)


def linear_model(x, sigma):
    return x / (1 + sigma.item() ** 2)


def silent(*_):
    pass


def sigmas_of(sampler, table, schedule="karras", steps=STEPS):
    return sigmas_for(builtin_schedules()[schedule], steps, table, discard_penultimate=sampler.discard_penultimate)


def run(sampler, sigmas, *, denoised=linear_model, report=silent, shape=SHAPE, seed=3, rule="per_item"):
    x = first_noise(shape, seed, rule) * sigmas[:1].sum()
    return sampler.sample(denoised, x, sigmas, step_noise(sampler.noise, shape, seed, rule, sigmas), report)


class CancelledError(Exception):
    pass


def test_names_are_unique():
    assert len({sampler.name for sampler in SAMPLERS}) == len(SAMPLERS)


@each_sampler
def test_it_reports_each_step_once_with_x_and_its_prediction(sampler, table):
    reports = []
    run(sampler, sigmas := sigmas_of(sampler, table), report=lambda *step: reports.append(step))
    assert [i for i, _, _ in reports] == list(range(STEPS))
    for i, x, denoised in reports:
        assert torch.equal(denoised, linear_model(x, sigmas[i]))


@each_sampler
def test_it_calls_the_model_as_often_as_it_says(sampler, table):
    calls = []
    run(sampler, sigmas_of(sampler, table), denoised=lambda x, s: calls.append(s) or linear_model(x, s))
    assert STEPS * sampler.evaluations - sampler.evaluations <= len(calls) <= STEPS * sampler.evaluations + 1


@each_sampler
def test_a_report_that_raises_stops_it_before_the_next_step(sampler, table):
    sigmas, reports, late = sigmas_of(sampler, table), [], []

    def report(i, x, denoised):
        reports.append(i)
        if i == 2:
            raise CancelledError

    def denoised(x, sigma):
        if 2 in reports:
            late.append(sigma)
        return linear_model(x, sigma)

    with pytest.raises(CancelledError):
        run(sampler, sigmas, denoised=denoised, report=report)
    assert reports == [0, 1, 2]
    assert late == []


@each_sampler
@pytest.mark.parametrize("rule", ["per_item", "comfyui"])
def test_the_same_seed_gives_the_same_bits(sampler, rule, table):
    sigmas = sigmas_of(sampler, table)
    assert torch.equal(run(sampler, sigmas, rule=rule), run(sampler, sigmas, rule=rule))


@each_sampler
def test_an_item_of_a_batch_equals_a_batch_of_one(sampler, table):
    sigmas = sigmas_of(sampler, table)
    batch = run(sampler, sigmas, shape=(3, 4, 8, 8), seed=2**64 - 2)
    for i, seed in enumerate([2**64 - 2, 2**64 - 1, 0]):
        assert torch.equal(batch[i : i + 1], run(sampler, sigmas, shape=(1, 4, 8, 8), seed=seed))


@each_sampler
@pytest.mark.parametrize("shape", [(1, 8), (2, 4, 8, 8), (1, 4, 3, 8, 8)], ids=["sequence", "image", "video"])
def test_any_number_of_dimensions_is_sampled(sampler, shape, table):
    x = run(sampler, sigmas_of(sampler, table), shape=shape)
    assert x.shape == shape
    assert x.isfinite().all()


@each_sampler
def test_x_is_not_changed_in_place(sampler, table):
    sigmas = sigmas_of(sampler, table)
    x = first_noise(SHAPE, 1) * sigmas[0]
    before, before_sigmas = x.clone(), sigmas.clone()
    sampler.sample(linear_model, x, sigmas, step_noise(sampler.noise, SHAPE, 1, "per_item", sigmas), silent)
    assert torch.equal(x, before)
    assert torch.equal(sigmas, before_sigmas)


@each_sampler
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("schedule", builtin_schedules())
def test_few_steps_are_enough_to_be_finite(sampler, steps, schedule, table):
    assert run(sampler, sigmas_of(sampler, table, schedule, steps)).isfinite().all()


@each_sampler
@pytest.mark.parametrize("sigmas", [[], [0.0], [5.0]], ids=str)
def test_without_two_sigmas_nothing_happens(sampler, sigmas):
    x, sigmas = first_noise(SHAPE, 1), torch.tensor(sigmas)
    noise = step_noise(sampler.noise, SHAPE, 1, "per_item", sigmas)
    assert torch.equal(sampler.sample(linear_model, x, sigmas, noise, silent), x)


@each_sampler
def test_many_steps_stay_finite(sampler, table):
    assert run(sampler, sigmas_of(sampler, table, "linear_quadratic", 400), shape=(1, 4, 4, 4)).abs().max() < 10


@each_sampler
def test_no_step_waits_for_the_device(sampler, table):
    """On the meta device there are no values: reading one, or mixing in a tensor from elsewhere, raises."""
    sigmas = sigmas_of(sampler, table)
    x, mask = torch.empty(SHAPE, device="meta"), torch.empty(1, 1, 8, 8, device="meta")
    context = {"context": torch.empty(1, 7, 3, device="meta")}
    predict = prediction(lambda x, t, context: x * t.reshape(-1, 1, 1, 1), "v", table)
    denoised = masked(guided(predict, context, context, 7.0), mask, x, lambda sigma: x + x * sigma)
    noise = step_noise(sampler.noise, SHAPE, 1, "per_item", sigmas, device="meta")
    assert sampler.sample(denoised, x, sigmas, noise, silent).shape == SHAPE
