"""Optimizers that act as one."""

from typing import Any

import torch
from torch import nn

MODULATIONS = 6
"""Rows of a table of shifts, scales and gates, which is no matrix that maps vectors."""


class Joined:
    """Several optimizers for the parts of one network, with the interface that a `Phase` uses."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self._all = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all optimizers."""
        return [group for one in self._all for group in one.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for one in self._all:
            one.zero_grad(set_to_none)

    def step(self) -> None:
        """Change the weights by their gradients."""
        for one in self._all:
            one.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all optimizers."""
        return {"all": [one.state_dict() for one in self._all]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the states of all optimizers."""
        for one, part in zip(self._all, state["all"], strict=True):
            one.load_state_dict(part)


def muon(network: nn.Module, blocks: nn.Module, rate: float, matrix_rate: float) -> Joined:
    """Return Muon (Jordan et al. 2024) for the matrices of a network's blocks, AdamW for its other weights.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025).
    """
    matrices = [weight for weight in blocks.parameters() if weight.ndim == 2 and min(weight.shape) > MODULATIONS]
    taken = {id(weight) for weight in matrices}
    rest = [weight for weight in network.parameters() if id(weight) not in taken]
    return Joined(
        torch.optim.Muon(matrices, matrix_rate, weight_decay=1e-2, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, rate, betas=(0.9, 0.99), weight_decay=1e-2),
    )
