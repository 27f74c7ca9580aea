import pytest
import torch

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.guidance import composite, guided, masked, restored
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.prediction import prediction
from latentloom.nodes.diffusion.schedules import builtin_schedules, sigmas_for

X, SIGMA = first_noise((2, 4, 8, 8), 1), torch.tensor(2.0)
POSITIVE, NEGATIVE = {"context": torch.full((1, 3), 2.0)}, {"context": torch.full((1, 3), -1.0)}
LONGER, ODD = ({"context": torch.full((1, length), -1.0)} for length in (6, 16))


def counting_predict(forwards):
    """A prediction that depends on x and on the mean of the condition, and records the size of each forward."""

    def predict(x, sigma, condition):
        forwards.append(x.shape[0])
        return x * condition["context"].mean(dim=1).reshape(-1, 1, 1, 1)

    return predict


@pytest.mark.parametrize(
    ("cfg", "expected", "sizes"),
    [
        (7.0, X * 20, [4]),
        (1, X * 2, [2]),
        (1.0, X * 2, [2]),
        (0, X * -1, [2]),
        (0.5, X * 0.5, [4]),
        (-1.0, X * -4, [4]),
    ],
)
def test_guidance_extrapolates_in_as_few_forwards_as_it_can(cfg, expected, sizes):
    forwards = []
    denoised = guided(counting_predict(forwards), POSITIVE, NEGATIVE, cfg)
    torch.testing.assert_close(denoised(X, SIGMA), expected)
    assert forwards == sizes


@pytest.mark.parametrize("other", [ODD, {**NEGATIVE, "pooled": torch.zeros(1, 2)}], ids=["length", "names"])
def test_conditions_that_do_not_stack_take_two_forwards(other):
    forwards = []
    denoised = guided(counting_predict(forwards), POSITIVE, other, 7.0)
    torch.testing.assert_close(denoised(X, SIGMA), X * 20)
    assert forwards == [2, 2]


def test_embeddings_of_unlike_length_are_repeated_into_one_forward():
    forwards = []
    denoised = guided(counting_predict(forwards), POSITIVE, LONGER, 7.0)
    torch.testing.assert_close(denoised(X, SIGMA), X * 20)
    assert forwards == [4]


def test_a_condition_may_differ_between_the_items_of_a_batch():
    each = {"context": torch.tensor([[1.0], [5.0]])}
    denoised = guided(counting_predict([]), each, {"context": torch.zeros(1, 1)}, 2.0)
    torch.testing.assert_close(denoised(X, SIGMA), X * torch.tensor([2.0, 10.0]).reshape(2, 1, 1, 1))


MASK = torch.zeros(1, 1, 8, 8)
MASK[..., 2:6, 2:6] = 1
LATENT, NOISE = first_noise((2, 4, 8, 8), 50), first_noise((2, 4, 8, 8), 60)
OUTSIDE = (MASK == 0).expand_as(LATENT)


def noised(sigma):
    return LATENT + NOISE * sigma


def test_what_is_kept_goes_in_as_noised_latent_and_comes_out_clean():
    seen = []
    denoised = masked(lambda x, sigma: seen.append(x) or x * 0.5, MASK, LATENT, noised)
    out = denoised(X, SIGMA)
    assert torch.equal(seen[0][OUTSIDE], (LATENT + NOISE * 2)[OUTSIDE])
    assert torch.equal(seen[0][~OUTSIDE], X[~OUTSIDE])
    assert torch.equal(out[OUTSIDE], LATENT[OUTSIDE])
    assert torch.equal(out[~OUTSIDE], X[~OUTSIDE] * 0.5)


@pytest.mark.parametrize("sampler", builtin_samplers(), ids=lambda sampler: sampler.name)
def test_a_masked_run_keeps_the_latent_bit_for_bit(sampler, table):
    sigmas = sigmas_for(builtin_schedules()["karras"], 6, table, discard_penultimate=sampler.discard_penultimate)
    predict = prediction(lambda x, t, context: x * 0.9, "epsilon", table)
    denoised = masked(guided(predict, POSITIVE, NEGATIVE, 4.0), MASK, LATENT, noised)
    draw = step_noise(sampler.noise, X.shape, 1, "per_item", sigmas)
    x = sampler.sample(denoised, LATENT + NOISE * sigmas[0], sigmas, draw, lambda *_: None)
    x = restored(x, MASK, LATENT)
    assert torch.equal(x[OUTSIDE], LATENT[OUTSIDE])
    assert x.isfinite().all()
    assert (x != LATENT)[~OUTSIDE].all()


@pytest.mark.parametrize("sampler", builtin_samplers(), ids=lambda sampler: sampler.name)
def test_a_soft_mask_counts_once_in_a_run(sampler, table):
    sigmas = sigmas_for(builtin_schedules()["karras"], 6, table, discard_penultimate=sampler.discard_penultimate)
    mask, paint = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8), torch.full_like(LATENT, 3.0)
    denoised = masked(lambda x, sigma: paint, mask, LATENT, noised)
    draw = step_noise(sampler.noise, X.shape, 1, "per_item", sigmas)
    x = sampler.sample(denoised, LATENT + NOISE * sigmas[0], sigmas, draw, lambda *_: None)
    left = 4 * 2**-10 if sampler.name.startswith("uni_pc") else 1e-4  # UniPC ends at that sigma, and not at 0
    torch.testing.assert_close(restored(x, mask, LATENT), LATENT + (paint - LATENT) * mask, rtol=0, atol=left)


def test_a_mask_of_ones_changes_nothing():
    plain = X * 0.5
    assert torch.equal(masked(lambda x, sigma: x * 0.5, torch.ones_like(MASK), LATENT, noised)(X, SIGMA), plain)


def test_a_soft_mask_mixes():
    torch.testing.assert_close(composite(X, torch.full((1, 1, 8, 8), 0.25), LATENT), X * 0.25 + LATENT * 0.75)


def test_a_broken_value_outside_the_mask_does_not_leak():
    broken = torch.full_like(X, torch.nan)
    assert torch.equal(composite(broken, MASK * 0, LATENT), LATENT)
    assert torch.equal(restored(broken, MASK * 0, LATENT), LATENT)
