"""CFG++ beside the paper's step in the variables of DDIM."""

import pytest
import torch

from latentloom.nodes.diffusion.cfg_pp import euler_ancestral_cfg_pp, euler_cfg_pp
from latentloom.nodes.diffusion.euler import euler, euler_ancestral
from latentloom.nodes.diffusion.sampler import Unguided
from latentloom.nodes.diffusion.schedules import karras, scaled_linear_table

SIGMAS = karras(8, scaled_linear_table())
SHAPE = (2, 4, 8, 8)
SCALE = 0.6


def predictions(x, sigma):
    """The guided and the negative's prediction of x0 of a made-up model."""
    positive, negative = torch.tanh(x / (1 + sigma)) + 0.3, torch.tanh(x / (1 + sigma)) * 0.5
    return negative + SCALE * (positive - negative), negative


def silent(*_):
    pass


def start():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * float(SIGMAS[0])


def sampled(sample, noise=silent, **more):
    unguided = Unguided()

    def denoised(x, sigma):
        guided, negative = predictions(x, sigma.item())
        unguided.note(negative)
        return guided

    return sample(denoised, start(), SIGMAS, noise, silent, unguided=unguided, **more)


def test_a_step_is_the_papers():
    """Algorithm 2: x_next = sqrt(a_next) x0_guided + sqrt(1 - a_next) eps_negative, where x is sqrt(a) (x0 + s n)."""
    x = start()
    alphas = 1 / (1 + SIGMAS.double() ** 2)
    scaled = x * alphas[0].sqrt()
    for i in range(len(SIGMAS) - 1):
        guided, negative = predictions(scaled / alphas[i].sqrt(), float(SIGMAS[i]))
        epsilon = (scaled - alphas[i].sqrt() * negative) / (1 - alphas[i]).sqrt()
        scaled = alphas[i + 1].sqrt() * guided + (1 - alphas[i + 1]).sqrt() * epsilon
    torch.testing.assert_close(sampled(euler_cfg_pp), scaled, rtol=1e-5, atol=1e-6)


def test_without_noise_the_ancestral_form_is_the_plain_one():
    def none(*_):
        return torch.zeros(SHAPE, dtype=torch.float64)

    torch.testing.assert_close(sampled(euler_ancestral_cfg_pp, none, eta=0.0), sampled(euler_cfg_pp))


@pytest.mark.parametrize(("sample", "plain"), [(euler_cfg_pp, euler), (euler_ancestral_cfg_pp, euler_ancestral)])
def test_a_guided_prediction_of_the_negative_alone_is_the_plain_sampler(sample, plain):
    def denoised(x, sigma):
        return predictions(x, sigma.item())[1]

    def noise(*_):
        return torch.ones(SHAPE, dtype=torch.float64)

    found = sample(denoised, start(), SIGMAS, noise, silent)
    torch.testing.assert_close(found, plain(denoised, start(), SIGMAS, noise, silent))
