import pytest
import torch

from latentloom.nodes.diffusion.noise import first_noise
from latentloom.nodes.diffusion.prediction import initial_latent, prediction, timestep_of
from latentloom.nodes.diffusion.timeline import Moment
from latentloom.nodes.diffusion.variance_exploding import VarianceExploding, stride_of, table_of

X0, EPS = first_noise((2, 4, 8, 8), 1), first_noise((2, 4, 8, 8), 100)


@pytest.mark.parametrize("sigma", [14.6, 1.0, 0.03])
@pytest.mark.parametrize("kind", ["epsilon", "v", "sample"])
def test_a_perfect_network_gives_x0_whatever_it_predicts(kind, sigma, table):
    alpha, beta = (1 + sigma**2) ** -0.5, sigma * (1 + sigma**2) ** -0.5
    outputs = {"epsilon": EPS, "v": alpha * EPS - beta * X0, "sample": X0}
    predict = prediction(lambda x, t: outputs[kind], kind, table)
    denoised = predict(X0 + sigma * EPS, Moment(sigma), {})
    torch.testing.assert_close(denoised, X0, rtol=0, atol=1e-5)


def test_the_network_sees_unit_variance_a_timestep_per_item_and_the_condition(table):
    seen = []
    predict = prediction(lambda x, t, **condition: seen.append((x, t, condition)) or x, "sample", table)
    predict(EPS * 3, Moment(3.0), {"context": X0})
    x, t, condition = seen[0]
    torch.testing.assert_close(x, EPS * 3 / 10**0.5)
    nearest = (table.log() - torch.tensor(3.0).log()).abs().argmin().item()
    assert t.tolist() == [nearest, nearest]
    assert t.dtype == torch.int64
    assert condition == {"context": X0}


def test_a_consistency_model_knows_50_timesteps_and_mixes_a_trace_of_x_in():
    info = {"betas": (0.00085, 0.012, 1000), "prediction": "lcm"}
    distilled = table_of(info)
    whole = table_of({**info, "prediction": "epsilon"})
    assert torch.equal(distilled, whole[19::20])
    space, seen = VarianceExploding(distilled, "lcm", stride_of(info)), []
    predict = space.prediction(lambda x, t: seen.append(t.tolist()) or EPS)
    sigma = float(distilled[3])
    x0 = predict(X0 + sigma * EPS, Moment(sigma), {})
    assert seen == [[79, 79]]
    assert space.time(sigma) == 79
    c_skip = 0.25 / (790**2 + 0.25)
    torch.testing.assert_close(x0, X0 * 790 / (790**2 + 0.25) ** 0.5 + (X0 + sigma * EPS) * c_skip, rtol=0, atol=1e-5)


def test_every_sigma_of_the_table_has_its_own_timestep(table):
    log_sigmas = table.log().float()
    assert [timestep_of(sigma, log_sigmas).item() for sigma in table.float()] == list(range(1000))


def test_a_sigma_between_two_takes_the_nearer_in_log(table):
    low, high = table[500].log(), table[501].log()
    for w, t in [(0.49, 500), (0.51, 501)]:
        assert timestep_of((low + w * (high - low)).exp(), table.log()).item() == t


def test_a_network_in_another_dtype_is_cast_back(table):
    predict = prediction(lambda x, t: x.bfloat16(), "epsilon", table)
    assert predict(X0, Moment(1.0), {}).dtype == torch.float32


@pytest.mark.parametrize(
    ("sigma0", "level"),
    [(14.6146, (14.6146**2 + 1) ** 0.5), (14.6145, (14.6145**2 + 1) ** 0.5), (20.0, 401**0.5), (14.61, 14.61), (1, 1)],
)
def test_the_start_has_unit_variance_at_sigma_max_only(sigma0, level):
    torch.testing.assert_close(initial_latent(EPS, X0, sigma0, 14.6146), EPS * level + X0)
