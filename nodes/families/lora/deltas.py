"""What a file's factors add to a weight: LoRA (Hu et al. 2021), LoCon, LoHa and LoKr (Yeh et al. 2024, LyCORIS).

A weight is [out, in] or [out, in, k, k]; a factor of a convolution may end with 1 x 1. All is computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Factors = Mapping[str, "Tensor"]


def changed(weight: Tensor, factors: Factors, strength: float) -> Tensor:
    """The weight, float32, with a change of some strength; DoRA (Liu et al. 2024) sets the length of each row anew.

    Raises ValueError for factors whose shapes do not fit the weight, KeyError for factors that lack one.
    """
    whole = delta(factors, tuple(weight.shape)).to(weight.device)
    if "dora" not in factors:
        return weight + strength * whole
    return weight + strength * (_dora(weight + whole, factors["dora"].to(weight)) - weight)


def _dora(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Rows of the given lengths; older files give lengths for the inputs, [1, in], and not for the outputs."""
    import torch

    by_input = magnitude.ndim > 1 and magnitude.shape[0] == 1 and weight.shape[0] != 1
    axes = [axis for axis in range(weight.ndim) if axis != (1 if by_input else 0)]
    length = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    return weight * (magnitude.reshape(length.shape) / length.clamp_min(1e-12))


def delta(factors: Factors, shape: tuple[int, ...]) -> Tensor:
    """What the factors add at strength 1, in a weight's shape."""
    plain = {name: factor.float() for name, factor in factors.items()}
    if "diff" in plain:
        return plain["diff"].reshape(shape)
    if "hada_w1_a" in plain:
        found, rank = _loha(plain), plain["hada_w1_b"].shape[0]
    elif "lokr_w1" in plain or "lokr_w1_a" in plain:
        found, rank = _lokr(plain)
    else:
        found, rank = _lora(plain), plain["down"].shape[0]
    scale = float(plain["alpha"]) / rank if "alpha" in plain and rank else 1.0
    if found.numel() != prod(shape):
        raise ValueError(f"{tuple(found.shape)} does not fit {shape}")
    return (found * scale).reshape(shape)


def _lora(factors: Factors) -> Tensor:
    """up x down; LoCon's Tucker form has a core [r, r, k, k] between them."""
    up, down = factors["up"].flatten(1), factors["down"]
    if "mid" in factors:
        return _tucker(factors["mid"], up.T, down.flatten(1))
    return (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _tucker(core: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """core [p, q, k, k], rows [p, out], columns [q, in] -> [out, in, k, k]."""
    import torch

    return torch.einsum("pqkl,po,qi->oikl", core, rows, columns)


def _loha(factors: Factors) -> Tensor:
    """The elementwise product of two low-rank matrices."""
    halves = []
    for n in (1, 2):
        a, b = factors[f"hada_w{n}_a"], factors[f"hada_w{n}_b"]
        halves.append(_tucker(factors[f"hada_t{n}"], a, b) if f"hada_t{n}" in factors else a @ b)
    return halves[0] * halves[1]


def _lokr(factors: Factors) -> tuple[Tensor, int]:
    """The Kronecker product of two matrices, each whole or of low rank, and the rank (0: both are whole)."""
    import torch

    first, rank = _kronecker_half(factors, 1)
    second, inner = _kronecker_half(factors, 2)
    while first.ndim < second.ndim:
        first = first.unsqueeze(-1)
    return torch.kron(first, second.contiguous()), inner or rank


def _kronecker_half(factors: Factors, n: int) -> tuple[Tensor, int]:
    if f"lokr_w{n}" in factors:
        return factors[f"lokr_w{n}"], 0
    a, b = factors[f"lokr_w{n}_a"], factors[f"lokr_w{n}_b"]
    if f"lokr_t{n}" in factors:
        return _tucker(factors[f"lokr_t{n}"], a, b), b.shape[0]
    return a @ b, b.shape[0]
