import json
from pathlib import Path

import pytest
import torch
from diffusers.schedulers import AysSchedules
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.schedules import builtin_schedules, scaled_linear_table, sigmas_for

SCHEDULES = builtin_schedules()
TABLE = scaled_linear_table()
KEYS = json.loads((Path(__file__).parents[2] / "data" / "comfyui-sigmas.json").read_text())["sigmas"].keys()


def test_the_table_equals_the_reference(reference_sigmas):
    assert TABLE.float().tolist() == reference_sigmas["all_sigmas"]


@pytest.mark.parametrize("key", KEYS)
def test_a_schedule_equals_the_reference(key, reference_sigmas):
    name, steps, *discard = key.split(":")
    sigmas = sigmas_for(SCHEDULES[name], int(steps), TABLE, discard_penultimate=bool(discard))
    assert sigmas.dtype == torch.float32
    assert sigmas.tolist() == pytest.approx(reference_sigmas["sigmas"][key], rel=1e-7, abs=0)


@pytest.mark.parametrize("key", KEYS)
def test_a_float32_table_gives_the_reference_to_rounding(key, reference_sigmas):
    name, steps, *discard = key.split(":")
    sigmas = sigmas_for(SCHEDULES[name], int(steps), TABLE.float(), discard_penultimate=bool(discard))
    assert sigmas.tolist() == pytest.approx(reference_sigmas["sigmas"][key], rel=1e-6, abs=0)


def test_every_reference_schedule_is_built_in(reference_sigmas):
    assert set(SCHEDULES) >= set(reference_sigmas["schedulers"])


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    steps=st.integers(1, 120),
    denoise=st.floats(0.02, 1),
    discard=st.booleans(),
)
def test_sigmas_descend_to_zero(name, steps, denoise, discard):
    sigmas = sigmas_for(SCHEDULES[name], steps, TABLE, denoise=denoise, discard_penultimate=discard)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert 2 <= len(sigmas) <= steps + 1 or name == "ddim_uniform"
    assert sigmas[0] <= TABLE[-1] * (1 + 3e-5)  # the tables of Align Your Steps have five digits


@pytest.mark.parametrize(("steps", "run"), [(7, 8), (8, 8), (12, 13), (15, 16), (20, 20), (28, 29), (30, 31), (50, 50)])
def test_ddim_uniform_may_run_one_step_more(steps, run):
    assert len(SCHEDULES["ddim_uniform"](steps, TABLE)) == run + 1


def test_ddim_uniform_starts_below_sigma_max():
    assert SCHEDULES["ddim_uniform"](8, TABLE)[0].item() == pytest.approx(7.3718443)


@pytest.mark.parametrize(("steps", "denoise", "total"), [(10, 0.5, 20), (7, 0.3, 23), (20, 0.99, 20)])
def test_denoise_keeps_the_end_of_a_longer_schedule(steps, denoise, total):
    kept = sigmas_for(SCHEDULES["karras"], steps, TABLE, denoise=denoise)
    assert kept.tolist() == SCHEDULES["karras"](total, TABLE)[-(steps + 1) :].tolist()


def test_no_denoise_means_no_sigmas():
    assert sigmas_for(SCHEDULES["karras"], 20, TABLE, denoise=0).tolist() == []


def test_discarding_drops_the_last_but_one_of_a_longer_schedule():
    longer = SCHEDULES["simple"](6, TABLE).tolist()
    assert sigmas_for(SCHEDULES["simple"], 5, TABLE, discard_penultimate=True).tolist() == [*longer[:-2], 0.0]


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_step_goes_from_the_first_sigma_to_zero(name):
    sigmas = SCHEDULES[name](1, TABLE)
    if name == "ddim_uniform":
        assert sigmas.tolist() == [TABLE[1].float().item(), 0.0]
    else:
        assert sigmas.tolist() == pytest.approx([TABLE[-1].item(), 0.0], rel=3e-5)


@pytest.mark.parametrize(
    ("name", "published"),
    [("ays_sd1", AysSchedules["StableDiffusionSigmas"]), ("ays_sdxl", AysSchedules["StableDiffusionXLSigmas"])],
)
def test_align_your_steps_has_the_published_sigmas(name, published):
    assert SCHEDULES[name](10, TABLE).tolist() == pytest.approx(published)


def test_align_your_steps_is_log_linear_between_them():
    assert SCHEDULES["ays_sd1"](20, TABLE)[1].item() == pytest.approx((14.615 * 6.475) ** 0.5)


def test_align_your_steps_is_not_for_flows():
    with pytest.raises(BadValueError, match=r"^the schedule is a list of sigmas for Stable Diffusion"):
        SCHEDULES["ays_sdxl"](4, torch.linspace(0.001, 1, 1000))


@pytest.mark.parametrize(("steps", "timesteps"), [(1, [999]), (4, [999, 899, 799, 699])])
def test_sd_turbo_begins_with_the_first_of_ten_timesteps(steps, timesteps):
    assert SCHEDULES["sd_turbo"](steps, TABLE).tolist() == [*TABLE[timesteps].float().tolist(), 0.0]


def test_laplace_is_dense_around_sigma_one():
    sigmas = SCHEDULES["laplace"](21, TABLE)
    assert sigmas[10].item() == pytest.approx(1)
    around = ((sigmas > 0.5) & (sigmas < 2)).sum()
    assert around > 10


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_of_which_hardly_anything_is_run_is_refused_before_it_is_made(name):
    with pytest.raises(BadValueError) as caught:
        sigmas_for(SCHEDULES[name], 10_000, TABLE, denoise=1e-12)
    assert caught.value.problem.got == "10000 / 1e-12"


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0$"):
        sigmas_for(SCHEDULES["normal"], 0, TABLE)
    with pytest.raises(ValueError, match=r"^denoise must be 0\.\.1, got 1\.5$"):
        sigmas_for(SCHEDULES["normal"], 4, TABLE, denoise=1.5)
