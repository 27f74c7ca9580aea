"""FreeU on a UNet of four levels, beside the authors' rule put in diffusers' place for it."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.utils.torch_utils import apply_freeu, fourier_filter

from latentloom.nodes.diffusion.freeu import Weights, weighed

FACTORS = {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
WIDTH = 8


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def by_width(version):
    """The authors' rule: which factors count is told by how wide the features are."""

    def apply(resolution_idx, hidden_states, res_hidden_states, *, b1, b2, s1, s2):
        factors = {4 * WIDTH: (b1, s1), 2 * WIDTH: (b2, s2)}.get(hidden_states.shape[1])
        if factors is None:
            return hidden_states, res_hidden_states
        b, s = factors
        if version == "2":
            mean = hidden_states.mean(1).unsqueeze(1)
            most, least = (f(mean.flatten(1), dim=1).values[:, None, None, None] for f in (torch.max, torch.min))
            b = (b - 1) * (mean - least) / (most - least) + 1
        half = hidden_states.shape[1] // 2
        hidden_states = torch.cat([hidden_states[:, :half] * b, hidden_states[:, half:]], dim=1)
        return hidden_states, fourier_filter(res_hidden_states, threshold=1, scale=s)

    return apply


@torch.no_grad()
@pytest.mark.parametrize(("where", "version"), [("width", "1"), ("width", "2"), ("stage", "1")])
def test_it_weighs_what_the_rule_names(unet, where, version, monkeypatch):
    x, context = torch.randn(2, 4, 16, 16), torch.randn(2, 3, 8)

    def call():
        return unet(x, 500, context).sample

    plain = call()
    with weighed(unet, Weights(**FACTORS, where=where, version=version)):
        found = call()
    rule = by_width(version) if where == "width" else apply_freeu
    monkeypatch.setattr("diffusers.models.unets.unet_2d_blocks.apply_freeu", rule)
    unet.enable_freeu(**FACTORS)
    known = call()
    unet.disable_freeu()
    assert torch.allclose(found, known, atol=1e-5)
    assert (found - plain).abs().max() > 1e-3
    assert torch.equal(call(), plain)
