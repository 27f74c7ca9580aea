"""A run in two parts is the whole run: the parts draw the noise that the whole would, wherever the cut is."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.nodes.diffusion.builtin import builtin_samplers
from latentloom.nodes.diffusion.noise import first_noise, step_noise
from latentloom.nodes.diffusion.schedules import builtin_schedules, scaled_linear_table, sigmas_for

TABLE = scaled_linear_table()
LARGEST = float(TABLE[-1].float())
STEPS = 12
SAMPLERS = {sampler.name: sampler for sampler in builtin_samplers()}
FORGETFUL = (  # they look at other steps, and begin anew in each part
    *("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "lms", "pndm", "uni_pc", "uni_pc_bh2", "deis"),
    *("res_multistep", "res_multistep_ancestral", "gradient_estimation", "er_sde", "ipndm", "ipndm_v"),
    *("dpmpp_2m_sde_heun", "sa_solver", "sa_solver_pece"),
    "heunpp2",  # it looks at later steps, and weighs by the first sigma
)
NOISY = [name for name, sampler in SAMPLERS.items() if sampler.noise != "none"]


def run(sampler, denoised, x, parts, seed):
    for sigmas in parts:
        noise = step_noise(sampler.noise, x.shape, seed, "per_item", sigmas, largest=LARGEST)
        x = sampler.sample(denoised, x, sigmas, noise, lambda *_: None)
    return x


def whole_of(name, schedule="karras", steps=STEPS):
    discard = SAMPLERS[name].discard_penultimate
    return sigmas_for(builtin_schedules()[schedule], steps, TABLE, discard_penultimate=discard)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in FORGETFUL])
@settings(deadline=None, max_examples=8)
@given(
    cuts=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=3),
    seed=st.integers(0, 2**64 - 1),
    schedule=st.sampled_from(["karras", "normal", "exponential"]),
)
def test_a_run_in_parts_is_the_whole_run(name, cuts, seed, schedule, reference_model):
    sigmas = whole_of(name, schedule)
    x = first_noise((2, 4, 8, 8), seed) * sigmas[0]
    ends = [0, *sorted(cuts), len(sigmas) - 1]
    parts = [sigmas[a : b + 1] for a, b in pairwise(ends)]
    known = run(SAMPLERS[name], reference_model, x, [sigmas], seed)
    assert torch.equal(run(SAMPLERS[name], reference_model, x, parts, seed), known)


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("cut", [4, 10, 16])
def test_a_cut_does_not_change_how_the_results_spread(name, cut):
    """On data that is a Gaussian of deviation 1, with its own denoiser. Noise that repeats makes it 1.2 and more."""

    def denoised(x, sigma):
        return x / (1 + float(sigma) ** 2)

    sigmas = whole_of(name, steps=20)
    x = first_noise((1, 4, 128, 128), 3) * math.sqrt(float(sigmas[0]) ** 2 + 1)
    whole, parts = (
        run(SAMPLERS[name], denoised, x, cuts, 3).std().item() for cuts in ([sigmas], [sigmas[: cut + 1], sigmas[cut:]])
    )
    assert parts == pytest.approx(whole, abs=0.03)
