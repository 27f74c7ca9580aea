"""The state of a training between two steps: weights, AdamW's moments, and what was measured so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

BETAS, DECAY = (0.9, 0.99), 1e-4


@dataclass(slots=True)
class Measured:
    """The loss of each step; held-out losses and sample pictures (uint8 [N, H, W, 3]) by the step that they follow."""

    losses: list[float] = field(default_factory=list)
    held_out: dict[int, float] = field(default_factory=dict)
    samples: dict[int, npt.NDArray[np.uint8]] = field(default_factory=dict)


class State:
    """Weights and their optimizer, with the number of steps that are done."""

    def __init__(self, weights: Sequence[Tensor], rate: float) -> None:
        self.weights = list(weights)
        self.optimizer = torch.optim.AdamW(self.weights, rate, betas=BETAS, weight_decay=DECAY)
        self.step = 0
        self.measured = Measured()

    def descend(self, gradients: Sequence[Tensor], rate: float) -> None:
        """Make one step; the norm of the gradients is limited to 1."""
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def data(self) -> bytes:
        """Return all of it as safetensors bytes."""
        from safetensors.torch import save

        tensors = {f"weight.{n}": weight.detach().contiguous() for n, weight in enumerate(self.weights)}
        for n, weight in enumerate(self.weights):
            known = self.optimizer.state.get(weight, {})
            tensors |= {f"{name}.{n}": torch.as_tensor(value).clone() for name, value in known.items()}
        found = self.measured
        tensors["losses"] = torch.tensor(found.losses, dtype=torch.float64)
        tensors["held_out"] = torch.tensor(list(found.held_out.items()), dtype=torch.float64)
        tensors |= {f"sample.{step}": torch.from_numpy(pictures.copy()) for step, pictures in found.samples.items()}
        return save(tensors, metadata={"step": str(self.step)})

    def load(self, data: bytes) -> None:
        """Go on from bytes that `data` returned."""
        import json

        from safetensors.torch import load

        tensors = load(data)
        self.step = int(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["step"])
        with torch.no_grad():
            for n, weight in enumerate(self.weights):
                weight.copy_(tensors[f"weight.{n}"])
                names = ("step", "exp_avg", "exp_avg_sq")
                own = {name: tensors[f"{name}.{n}"] for name in names if f"{name}.{n}" in tensors}
                if own:
                    self.optimizer.state[weight] = _placed(own, weight)
        self.measured = Measured(
            tensors["losses"].tolist(),
            {int(step): loss for step, loss in tensors["held_out"].reshape(-1, 2).tolist()},
            {
                int(name.partition(".")[2]): tensor.numpy()
                for name, tensor in sorted(tensors.items(), key=lambda item: (len(item[0]), item[0]))
                if name.startswith("sample.")
            },
        )


def _placed(own: Mapping[str, Tensor], weight: Tensor) -> dict[str, Any]:
    """Put the moments where their weight is; the count of steps stays on the CPU, as AdamW has it."""
    return {name: value if name == "step" else value.to(weight.device) for name, value in own.items()}
