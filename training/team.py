"""Data-parallel training with several processes of one thread each, started by `torchrun`.

On a CPU two processes that synchronise once per step are faster than two threads that synchronise in every operation.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Team:
    """The processes that train together; each draws its own batches."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def agree(self, weights: list[Tensor], spent: float) -> float:
        """Average the gradients over the team; return the leader's `spent`."""
        if self.size == 1:
            return spent
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), torch.tensor([spent * self.leads])])
        dist.all_reduce(flat)
        parts = (flat[:-1] / self.size).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(flat[-1])

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_team() -> Iterator[Team]:
    """Join the team in torchrun's environment variables and leave it at the end, or give a team of one process."""
    if "WORLD_SIZE" not in os.environ:
        yield Team()
        return
    dist.init_process_group("gloo")
    try:
        yield Team(dist.get_rank(), dist.get_world_size())
    finally:
        # A process that exits with gloo's threads still running may be aborted by the C++ runtime.
        dist.destroy_process_group()
