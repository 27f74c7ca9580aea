import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentloom.training.edges import SHAPES, EdgeSettings, create_controlnet, draw_edges, even_out, train_edges
from latentloom.training.export import load_model
from latentloom.training.loop import Writer
from latentloom.training.sample import Model

TINY = EdgeSettings(pictures=8, batch=2)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(SHAPES)


def hints(model: Model) -> torch.Tensor:
    return draw_edges(model, TINY).edges.float()[:, None].expand(-1, 3, -1, -1)


def test_pictures_become_latents_and_thin_edges(model: Model) -> None:
    data = draw_edges(model, TINY)
    assert data.edges.shape == (8, 128, 128)
    assert data.latents.shape == (8, 4, 16, 16)
    shares = data.edges.float().mean(dim=(1, 2))
    assert (shares > 0.002).sum() >= 6  # a shape as bright as its ground has none
    assert (shares < 0.1).all()


def test_a_new_controlnet_changes_nothing_but_reads_edges_loudly(model: Model) -> None:
    torch.manual_seed(0)
    net, edges = create_controlnet(model.unet), hints(model)
    even_out(net.controlnet_cond_embedding, edges)
    with torch.no_grad():
        heard = net.controlnet_cond_embedding(edges)
        down, middle = net(
            torch.randn(8, 4, 16, 16), torch.tensor(500), torch.randn(8, 32, 128), edges, return_dict=False
        )
    assert heard.std(dim=0).mean().item() == pytest.approx(1, abs=0.01)
    assert all((answer == 0).all() for answer in (*down, middle))


def test_training_moves_the_controlnet_and_leaves_the_model(model: Model, tmp_path: Path) -> None:
    before = {name: weight.clone() for name, weight in model.unet.state_dict().items()}
    log = io.StringIO()
    net = train_edges(model, tmp_path, 0.02, Writer(log), TINY)
    assert log.getvalue().splitlines()[-1].startswith("edges: done, ")
    assert any((weight != 0).any() for name, weight in net.named_parameters() if name.startswith("controlnet_mid"))
    assert all(torch.equal(weight, before[name]) for name, weight in model.unet.state_dict().items())
    assert (tmp_path / "edges.pt").exists()


def test_what_is_drawn_depends_on_the_seed_alone(model: Model) -> None:
    first, again, other = (draw_edges(model, replace(TINY, seed=seed)).edges.numpy() for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
