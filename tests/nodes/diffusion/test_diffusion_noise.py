import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.nodes.diffusion.brownian import BrownianPath
from latentloom.nodes.diffusion.noise import first_noise, item_seeds, step_noise, step_seed

SIGMAS = torch.tensor([14.6146, 5.0, 1.0, 0.03, 0.0])

# blake2b(b"step" + seed as 8 bytes, little-endian) of the seeds 0, 42 and 2^64 - 1: a promise to every saved picture.
STEP_SEEDS = [12799189927862262246, 16966735620517186046, 11892274933406119098]

seeds = st.integers(0, 2**64 - 1)


def intervals(kind, shape, seed, rule):
    noise = step_noise(kind, shape, seed, rule, SIGMAS)
    return torch.stack([noise(SIGMAS[i], SIGMAS[i + 1]) for i in range(3)], dim=1)


@settings(deadline=None)
@given(seed=seeds, batch=st.integers(1, 4), shape=st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_item_i_of_a_batch_has_the_first_noise_of_seed_plus_i(seed, batch, shape):
    noise = first_noise((batch, *shape), seed)
    for i in range(batch):
        assert torch.equal(noise[i : i + 1], first_noise((1, *shape), (seed + i) % 2**64))


@settings(deadline=None)
@given(seed=seeds, batch=st.integers(1, 3), kind=st.sampled_from(["gaussian", "brownian"]))
def test_item_i_of_a_batch_has_the_step_noise_of_seed_plus_i(seed, batch, kind):
    noise = intervals(kind, (batch, 2, 4), seed, "per_item")
    for i in range(batch):
        assert torch.equal(noise[i : i + 1], intervals(kind, (1, 2, 4), (seed + i) % 2**64, "per_item"))


def test_item_seeds_wrap_around():
    assert item_seeds(2**64 - 1, 3) == [2**64 - 1, 0, 1]


def test_step_seeds_never_change():
    assert [step_seed(0), step_seed(42), step_seed(2**64 - 1)] == STEP_SEEDS


@pytest.mark.parametrize("rule", ["per_item", "comfyui"])
@pytest.mark.parametrize("kind", ["gaussian", "brownian"])
def test_step_noise_has_unit_variance_and_is_independent(kind, rule):
    noise = intervals(kind, (1, 4, 128, 128), 9, rule).flatten(2)[0]
    assert noise.std(dim=1).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert noise.mean(dim=1).tolist() == pytest.approx([0, 0, 0], abs=0.02)
    assert torch.corrcoef(noise).sub(torch.eye(3)).abs().max() < 0.02


def test_under_comfyui_the_first_step_noise_is_the_first_noise():
    noise = step_noise("gaussian", (2, 4, 8, 8), 11, "comfyui", SIGMAS)
    assert torch.equal(noise(SIGMAS[0], SIGMAS[1]), first_noise((2, 4, 8, 8), 11, "comfyui"))


def test_per_item_step_noise_is_not_the_first_noise():
    noise = step_noise("gaussian", (1, 4, 64, 64), 11, "per_item", SIGMAS)
    pair = torch.stack([noise(SIGMAS[0], SIGMAS[1]).flatten(), first_noise((1, 4, 64, 64), 11).flatten()])
    assert torch.corrcoef(pair)[0, 1].abs() < 0.05


@pytest.mark.parametrize("rule", ["per_item", "comfyui"])
def test_brownian_noise_does_not_depend_on_the_order_of_the_calls(rule):
    there, back = (step_noise("brownian", (1, 4, 8), 1, rule, SIGMAS) for _ in range(2))
    forward = [there(SIGMAS[i], SIGMAS[i + 1]) for i in (0, 1, 2)]
    backward = [back(SIGMAS[i], SIGMAS[i + 1]) for i in (2, 1, 0)]
    assert torch.equal(torch.stack(forward), torch.stack(backward[::-1]))


@pytest.mark.parametrize("rule", ["per_item", "comfyui"])
def test_brownian_increments_add_up(rule):
    noise = step_noise("brownian", (1, 4, 8), 1, rule, SIGMAS)

    def increment(a, b):
        return noise(torch.tensor(a), torch.tensor(b)) * math.sqrt(a - b)

    torch.testing.assert_close(increment(5.0, 2.0) + increment(2.0, 1.0), increment(5.0, 1.0), rtol=0, atol=1e-5)


def test_a_brownian_path_is_as_rough_at_small_intervals():
    noise = step_noise("brownian", (1, 4, 64, 64), 2, "per_item", SIGMAS)
    for sigma in (14.0, 1.0, 0.03):
        assert noise(torch.tensor(sigma), torch.tensor(sigma * 0.999)).std().item() == pytest.approx(1, abs=0.03)


def test_a_brownian_path_reaches_zero():
    noise = step_noise("brownian", (1, 4, 64, 64), 2, "per_item", SIGMAS)
    assert noise(SIGMAS[3], SIGMAS[4]).std().item() == pytest.approx(1, abs=0.03)


points = st.floats(0, 14.6146)


@settings(deadline=None)
@given(path=st.lists(points, max_size=12), t=points)
def test_a_brownian_path_does_not_remember_where_it_was(path, t):
    fresh, used = BrownianPath((1, 3), 14.6146, 5), BrownianPath((1, 3), 14.6146, 5)
    for p in path:
        used.increment(0.0, p)
    assert torch.equal(used.increment(0.0, t), fresh.increment(0.0, t))


def test_brownian_noise_warns_of_nothing_at_its_ends():
    sigmas = torch.tensor([14.614643096923828, 0.0291671771556139, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step_noise("brownian", (1, 4), 1, "comfyui", sigmas)(sigmas[0], sigmas[1])


@pytest.mark.parametrize("rule", ["per_item", "comfyui"])
@pytest.mark.parametrize("kind", ["gaussian", "brownian"])
def test_the_largest_seed_works(kind, rule):
    assert intervals(kind, (2, 4), 2**64 - 1, rule).isfinite().all()


def test_a_sampler_that_needs_no_noise_gets_none():
    noise = step_noise("none", (1, 4), 1, "per_item", SIGMAS)
    with pytest.raises(ValueError, match=r"^a sampler declared to draw no noise asked for some, from 14\.6146 to 5$"):
        noise(SIGMAS[0], SIGMAS[1])
