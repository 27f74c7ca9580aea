import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from latentloom.training.export import export_model, load_flow, load_model
from latentloom.training.flow import SHAPES, FlowRun
from latentloom.training.loop import Writer
from latentloom.training.optimizers import muon
from latentloom.training.sample import sample
from latentloom.training.settings import FlowSettings
from latentloom.training.transformer import Velocity, create_transformer, draw_sigmas

TINY = FlowSettings(heads=1, head_width=16, layers=1, batch=2, pictures=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FlowRun:
    made = FlowRun(TINY, load_model(SHAPES), tmp_path_factory.mktemp("flow"), Writer(io.StringIO()))
    made.train(0.02)
    return made


def test_a_run_goes_on_from_its_checkpoint(run: FlowRun) -> None:
    before = torch.load(run.out / "flow.pt", weights_only=True)["progress"]
    log = io.StringIO()
    FlowRun(TINY, run.base, run.out, Writer(log)).train(0.04)
    after = torch.load(run.out / "flow.pt", weights_only=True)["progress"]
    assert log.getvalue().startswith(f"flow: resumed at step {before['step']}\n")
    assert after["step"] > before["step"]


def test_an_exported_model_loads_and_draws_the_same(run: FlowRun, tmp_path: Path) -> None:
    export_model(run.model(), tmp_path)
    first, again = (sample(load_flow(tmp_path), ["a red circle"], 7, cfg=2.0, steps=2)[0] for _ in range(2))
    assert first.shape == (128, 128, 3)
    assert (first == again).all()


def test_training_moves_every_part_of_the_transformer(run: FlowRun) -> None:
    torch.manual_seed(TINY.seed)
    untrained, trained = create_transformer(TINY, 128).state_dict(), run.model().transformer.state_dict()
    assert not [
        name for name, weight in trained.items() if torch.equal(weight, untrained[name]) and "pos_embed.pos" not in name
    ]


def test_a_new_transformer_answers_zero() -> None:
    net = create_transformer(TINY, 8)
    with torch.no_grad():
        answer = net(torch.randn(2, 4, 16, 16), encoder_hidden_states=torch.randn(2, 3, 8), timestep=torch.ones(2))
    assert (answer.sample == 0).all()


def test_sigmas_are_logit_normal_around_the_location() -> None:
    sigmas = draw_sigmas(np.random.default_rng(0), 4000, location=0.5)
    logits = torch.logit(sigmas.double())
    assert (logits.mean().item(), logits.std().item()) == (pytest.approx(0.5, abs=0.01), pytest.approx(1, abs=0.01))


def test_the_right_answer_to_the_objective_is_noise_minus_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4, 4, 2, 2, generator=generator) for _ in range(2))

    class Oracle(nn.Module):
        def forward(self, x: torch.Tensor, encoder_hidden_states: torch.Tensor, timestep: torch.Tensor) -> object:
            share = timestep[:, None, None, None] / 1000
            assert torch.allclose(x, (1 - share) * clean + share * noise, atol=1e-6)
            return type("Answer", (), {"sample": noise - clean})

    loss = Velocity(0.0)(Oracle(), clean, noise, torch.zeros(4, 1, 1), np.random.default_rng(0))
    assert loss.item() == 0


def test_muon_takes_the_matrices_of_the_blocks_and_a_saved_state_is_restored() -> None:
    net = create_transformer(TINY, 8)
    optimizer = muon(net, net.transformer_blocks, rate=1e-3, matrix_rate=2e-3)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    assert len(rates) == len(list(net.parameters()))
    blocks = dict(net.transformer_blocks.named_parameters())
    assert rates[id(blocks["0.attn1.to_q.weight"])] == 2e-3
    assert {rates[id(blocks[name])] for name in ("0.attn1.to_q.bias", "0.scale_shift_table")} == {1e-3}

    (net(torch.randn(1, 4, 4, 4), torch.randn(1, 2, 8), torch.ones(1)).sample - 1).square().mean().backward()
    optimizer.step()
    again = muon(net, net.transformer_blocks, rate=1e-3, matrix_rate=2e-3)
    again.load_state_dict(optimizer.state_dict())
    assert again.state_dict()["all"][0]["state"].keys() == optimizer.state_dict()["all"][0]["state"].keys() != set()
