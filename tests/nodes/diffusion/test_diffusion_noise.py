import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.nodes.diffusion.brownian import BrownianPath
from latentloom.nodes.diffusion.noise import first_noise, item_seeds, posterior_noise, step_noise, step_seed

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


@pytest.mark.parametrize("rule", ["per_item", "comfyui", "comfyui_cuda", "comfyui_0_3"])
@pytest.mark.parametrize("kind", ["gaussian", "brownian"])
def test_step_noise_has_unit_variance_and_is_independent(kind, rule):
    noise = intervals(kind, (1, 4, 128, 128), 9, rule).flatten(2)[0]
    assert noise.std(dim=1).tolist() == pytest.approx([1, 1, 1], abs=0.02)
    assert noise.mean(dim=1).tolist() == pytest.approx([0, 0, 0], abs=0.02)
    assert torch.corrcoef(noise).sub(torch.eye(3)).abs().max() < 0.02


@pytest.mark.parametrize(("rule", "more"), [("comfyui", 1), ("comfyui_0_3", 0)])
def test_comfyui_draws_step_noise_on_a_processor_from_the_seed_and_one_and_once_from_the_seed_itself(rule, more):
    noise, generator = step_noise("gaussian", (2, 4, 8, 8), 11, rule, SIGMAS), torch.Generator().manual_seed(11 + more)
    for i in range(3):
        known = torch.randn((2, 4, 8, 8), generator=generator)
        assert torch.equal(noise(SIGMAS[i], SIGMAS[i + 1]), known)
    first = step_noise("gaussian", (2, 4, 8, 8), 11, rule, SIGMAS)(SIGMAS[0], SIGMAS[1])
    assert torch.equal(first, first_noise((2, 4, 8, 8), 11, rule)) == (more == 0)


# torch.randn((3, 4), device="cuda") after torch.manual_seed(0): AUTOMATIC1111's doctest of its own generator has them.
CUDA_0 = [
    [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
    [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
    [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
]


def test_what_a_cuda_card_draws_is_drawn_on_any_machine():
    noise = step_noise("gaussian", (3, 4), 0, "comfyui_cuda", SIGMAS)
    torch.testing.assert_close(noise(SIGMAS[0], SIGMAS[1]), torch.tensor(CUDA_0), rtol=0, atol=1e-6)
    assert not torch.equal(noise(SIGMAS[1], SIGMAS[2]), torch.tensor(CUDA_0))


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["comfyui", "comfyui_cuda"])
def test_on_a_card_comfyui_draws_step_noise_there(rule):
    generator = torch.Generator("cuda").manual_seed(11)
    noise = step_noise("gaussian", (2, 4, 32, 32), 11, rule, SIGMAS, device="cuda")
    for i in range(3):
        known = torch.randn((2, 4, 32, 32), generator=generator, device="cuda")
        torch.testing.assert_close(noise(SIGMAS[i], SIGMAS[i + 1]), known, rtol=1e-6, atol=1e-6)


def test_per_item_step_noise_depends_on_the_interval_alone():
    there, back = (step_noise("gaussian", (1, 4, 8), 1, "per_item", SIGMAS) for _ in range(2))
    forward = [there(SIGMAS[i], SIGMAS[i + 1]) for i in (0, 1, 2)]
    backward = [back(SIGMAS[i], SIGMAS[i + 1]) for i in (2, 1, 0)]
    assert torch.equal(torch.stack(forward), torch.stack(backward[::-1]))
    part = step_noise("gaussian", (1, 4, 8), 1, "per_item", SIGMAS[1:])
    assert torch.equal(part(SIGMAS[1], SIGMAS[2]), forward[1])


def test_the_noise_of_a_vae_s_answer_is_not_that_of_the_sampler():
    pair = torch.stack([posterior_noise((1, 4, 64, 64), 11).flatten(), first_noise((1, 4, 64, 64), 11).flatten()])
    assert torch.corrcoef(pair)[0, 1].abs() < 0.05
    assert torch.equal(posterior_noise((3, 4), 11)[1:2], posterior_noise((1, 4), 12))


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


@settings(deadline=None)
@given(low=st.floats(0, 100), width=st.floats(0.01, 50))
def test_a_brownian_path_is_the_same_however_far_it_reaches(low, width):
    """Rooted at the model's largest sigma, a part of a run sees the path of the whole, beyond that sigma too."""
    near, far = BrownianPath((1, 3), 14.6146, 5), BrownianPath((1, 3), 14.6146, 5)
    far.increment(0.0, 1000.0)
    assert torch.equal(near.increment(low, low + width), far.increment(low, low + width))


def test_a_brownian_path_is_as_rough_beyond_its_first_tree():
    path = BrownianPath((1, 4, 64, 64), 14.6146, 5)
    for low, high in ((14.0, 15.0), (20.0, 40.0), (100.0, 101.0)):
        assert (path.increment(low, high) / (high - low) ** 0.5).std().item() == pytest.approx(1, abs=0.03)


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
