"""What each kind of LoRA adds to a weight, against what its authors' layers compute beside the weight."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, linear, normalize

from latentloom.nodes.families.lora.deltas import changed, delta


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def same(found, expected):
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_lora_adds_the_branch_that_goes_down_and_up():
    weight, down, up, x = torch.randn(6, 5), torch.randn(2, 5), torch.randn(6, 2), torch.randn(3, 5)
    branch = linear(linear(x, down), up) * (1.0 / 2)
    found = changed(weight, {"down": down, "up": up, "alpha": torch.tensor(1.0)}, 0.7)
    same(linear(x, found), linear(x, weight) + 0.7 * branch)


def test_without_alpha_the_scale_is_one():
    down, up = torch.randn(2, 5), torch.randn(6, 2)
    same(delta({"down": down, "up": up}, (6, 5)), up @ down)


@pytest.mark.parametrize("size", [1, 3])
def test_locon_adds_two_convolutions_in_a_row(size):
    weight, x = torch.randn(6, 5, size, size), torch.randn(1, 5, 8, 8)
    down, up = torch.randn(2, 5, size, size), torch.randn(6, 2, 1, 1)
    branch = conv2d(conv2d(x, down, padding=size // 2), up)
    found = changed(weight, {"down": down, "up": up}, 1.0)
    same(conv2d(x, found, padding=size // 2), conv2d(x, weight, padding=size // 2) + branch)


def test_locon_in_tuckers_form_adds_three():
    x, down, mid, up = (
        torch.randn(1, 5, 8, 8),
        torch.randn(2, 5, 1, 1),
        torch.randn(2, 2, 3, 3),
        torch.randn(6, 2, 1, 1),
    )
    branch = conv2d(conv2d(conv2d(x, down), mid, padding=1), up)
    same(conv2d(x, delta({"down": down, "mid": mid, "up": up}, (6, 5, 3, 3)), padding=1), branch)


def test_a_linear_lora_fits_a_1x1_convolution():
    down, up = torch.randn(2, 5), torch.randn(6, 2)
    assert delta({"down": down, "up": up}, (6, 5, 1, 1)).shape == (6, 5, 1, 1)


def hada(*shapes):
    return {f"hada_w{n}_{side}": torch.randn(shape) for n in (1, 2) for side, shape in zip("ab", shapes, strict=True)}


def test_loha_multiplies_two_low_rank_matrices_elementwise():
    factors = hada((6, 2), (2, 5))
    expected = np.zeros((6, 5))
    for row in range(6):
        for column in range(5):
            first = sum(factors["hada_w1_a"][row, r] * factors["hada_w1_b"][r, column] for r in range(2))
            second = sum(factors["hada_w2_a"][row, r] * factors["hada_w2_b"][r, column] for r in range(2))
            expected[row, column] = float(first * second) * 4 / 2
    same(delta({**factors, "alpha": torch.tensor(4.0)}, (6, 5)), torch.tensor(expected, dtype=torch.float32))


def test_loha_in_tuckers_form_has_a_core_for_each():
    factors = hada((2, 6), (2, 5)) | {"hada_t1": torch.randn(2, 2, 3, 3), "hada_t2": torch.randn(2, 2, 3, 3)}
    expected = torch.zeros(6, 5, 3, 3)
    for p in range(2):
        for q in range(2):
            for s in range(2):
                for t in range(2):
                    first = torch.outer(factors["hada_w1_a"][p], factors["hada_w1_b"][q])[:, :, None, None]
                    second = torch.outer(factors["hada_w2_a"][s], factors["hada_w2_b"][t])[:, :, None, None]
                    expected += first * factors["hada_t1"][p, q] * second * factors["hada_t2"][s, t]
    same(delta(factors, (6, 5, 3, 3)), expected)


def test_lokr_of_whole_matrices_ignores_alpha():
    first, second = torch.randn(2, 3), torch.randn(4, 5)
    expected = torch.tensor(np.kron(first.numpy(), second.numpy()))
    same(delta({"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(9.0)}, (8, 15)), expected)


def test_lokr_of_a_low_rank_half_scales_by_its_rank():
    first, a, b = torch.randn(2, 3), torch.randn(4, 2), torch.randn(2, 5)
    expected = torch.tensor(np.kron(first.numpy(), (a @ b).numpy())) / 2
    factors = {"lokr_w1": first, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(1.0)}
    same(delta(factors, (8, 15)), expected)


def test_lokr_of_a_convolution_multiplies_blocks_of_it():
    first, second = torch.randn(2, 3), torch.randn(4, 5, 3, 3)
    found = delta({"lokr_w1": first, "lokr_w2": second}, (8, 15, 3, 3))
    same(found[4:8, 10:15], first[1, 2] * second)


def test_dora_gives_each_row_its_length():
    weight, down, up, lengths = torch.randn(6, 5), torch.randn(2, 5), torch.randn(6, 2), torch.rand(6, 1) + 0.5
    factors = {"down": down, "up": up, "dora": lengths}
    found = changed(weight, factors, 1.0)
    same(found.norm(dim=1, keepdim=True), lengths)
    same(normalize(found, dim=1), normalize(weight + up @ down, dim=1))
    same(changed(weight, factors, 0.5), (weight + found) / 2)


def test_dora_of_a_convolution_and_of_the_older_form_by_input():
    weight, diff = torch.randn(6, 5, 3, 3), torch.randn(6, 5, 3, 3)
    found = changed(weight, {"diff": diff, "dora": torch.full((6, 1, 1, 1), 2.0)}, 1.0)
    same(found.flatten(1).norm(dim=1), torch.full((6,), 2.0))
    found = changed(weight, {"diff": diff, "dora": torch.full((1, 5, 1, 1), 3.0)}, 1.0)
    same(found.transpose(0, 1).flatten(1).norm(dim=1), torch.full((5,), 3.0))


def test_a_whole_difference_is_added():
    diff = torch.randn(6, 5)
    same(changed(nn.Linear(5, 6).weight.detach() * 0, {"diff": diff}, 2.0), 2 * diff)


def test_factors_of_another_size_are_refused():
    with pytest.raises((ValueError, RuntimeError)):
        delta({"down": torch.randn(2, 7), "up": torch.randn(6, 2)}, (6, 5))
