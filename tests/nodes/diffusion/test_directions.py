"""Resizing latents by the directions of their cells."""

import math

import numpy as np
import pytest
import torch

from latentloom.nodes.diffusion.directions import resize_by_direction


def test_a_cell_between_two_follows_the_great_circle_and_its_length_a_line() -> None:
    row = torch.tensor([[2.0, 0.0], [0.0, 4.0]]).T.reshape(1, 2, 1, 2)  # cells (2, 0) and (0, 4)
    found = resize_by_direction(row, 1, 4)[0, :, 0].T
    shares = [0, 0.25, 0.75, 1]
    wanted = [[(2 + 2 * s) * math.cos(s * math.pi / 2), (2 + 2 * s) * math.sin(s * math.pi / 2)] for s in shares]
    assert np.allclose(found, wanted, atol=1e-5)


def test_both_axes_are_alike() -> None:
    samples = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    turned = resize_by_direction(samples.transpose(2, 3), 3, 6).transpose(2, 3)
    assert torch.allclose(resize_by_direction(samples, 6, 3), turned, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (7, 9), (2, 3), (1, 1)])
def test_equal_cells_stay_and_sizes_are_kept(size: tuple[int, int]) -> None:
    equal = torch.tensor([1.0, -2.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert torch.allclose(resize_by_direction(equal, *size), equal[:, :, :1, :1].expand(1, 3, *size))
    assert not resize_by_direction(torch.zeros(1, 3, 4, 4), *size).any()


def test_opposite_directions_go_along_a_line() -> None:
    row = torch.tensor([1.0, -1.0]).reshape(1, 1, 1, 2)
    assert torch.allclose(resize_by_direction(row, 1, 4).flatten(), torch.tensor([1.0, 0.5, -0.5, -1.0]))
