"""Converts the output of a network to the prediction of x0 that samplers integrate.

A network receives x / sqrt(sigma^2 + 1), the variance-preserving x_t, and an integer timestep. It predicts the noise
epsilon (Ho et al. 2020), v (Salimans & Ho 2022, appendix D) or x0 itself. A latent consistency model predicts epsilon
at some of the timesteps; its x0 is mixed with x_t so that it equals x_t at timestep 0 (Luo et al. 2023, section 2).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from latentloom.nodes.diffusion.timeline import Moment

PredictionKind = Literal["epsilon", "v", "sample", "lcm"]
SIGMA_DATA = 0.5  # in the boundary condition of a consistency model
TIMESTEP_SCALE = 10  # the factor of the timesteps in that condition

# The network's inputs besides x and the timestep: tensors by name, each with a leading batch dimension.
Condition = Mapping[str, Tensor]

# (x, moment, condition) -> the prediction of x0 under that condition.
Predict = Callable[[Tensor, Moment, Condition], Tensor]


class Network(Protocol):
    """A network's forward pass: x [B, ...] scaled, time [B], conditions by name -> [B, ...].

    The time is an int64 timestep, or a flow's sigma.
    """

    def __call__(self, x: Tensor, time: Tensor, /, **condition: Tensor) -> Tensor: ...  # noqa: D102


def timestep_of(sigma: Tensor, log_sigmas: Tensor) -> Tensor:
    """Return the timestep whose sigma is nearest in log sigma, as a scalar tensor; `log_sigmas` must ascend."""
    return (log_sigmas - sigma.log()).abs().argmin()


def prediction(network: Network, kind: PredictionKind, table: Tensor, stride: int = 1) -> Predict:
    """Adapt a network to Predict. `table` holds the sigmas of every stride-th timestep, ascending, on the CPU.

    The network receives x in x's dtype. Its output may have another dtype and is cast to that of x.
    """
    log_sigmas = table.log().float()

    def predict(x: Tensor, moment: Moment, condition: Condition) -> Tensor:
        s = moment.sigma
        timestep = (timestep_of(torch.tensor(s), log_sigmas) + 1) * stride - 1
        scale = (s**2 + 1) ** -0.5
        output = network(x * scale, timestep.to(x.device).expand(x.shape[0]), **condition).to(x.dtype)
        match kind:
            case "epsilon":
                return x - output * s
            case "v":
                return x * scale**2 - output * (s * scale)
            case "sample":
                return output
            case "lcm":
                t = int(timestep) * TIMESTEP_SCALE
                c_skip = SIGMA_DATA**2 / (t**2 + SIGMA_DATA**2)
                return (x - output * s) * (t / (t**2 + SIGMA_DATA**2) ** 0.5) + x * c_skip

    return predict


def initial_latent(noise: Tensor, latent: Tensor, sigma0: Tensor | float, sigma_max: Tensor | float) -> Tensor:
    """Return the x that a run starts from: the latent plus noise of level sigma0.

    At sigma_max (relative 1e-5) or above the level is sqrt(sigma0^2 + 1): there the network was trained on noise of
    unit variance with hardly any image, so an empty latent must have unit variance after the scaling.
    """
    s0 = float(sigma0)
    level = (s0**2 + 1) ** 0.5 if s0 >= float(sigma_max) * (1 - 1e-5) else s0
    return noise * level + latent


def fitted(conditions: Sequence[Condition]) -> list[Condition] | None:
    """Bring the tensors of conditions to the same shapes except for the batch. Returns None if that is impossible.

    Embeddings "context" [B, T, D] of different length are repeated up to a common length, at most twice the longest:
    attention over repeated tokens gives the same result. A "prompt" [B, T, D] with its "prompt_mask" [B, T] is padded
    instead, because a transformer uses the positions of the tokens.
    """
    names = conditions[0].keys()
    if any(condition.keys() != names for condition in conditions):
        return None
    if "context" in names:
        lengths = [condition["context"].shape[1] for condition in conditions]
        common = math.lcm(*lengths)
        if common > 2 * max(lengths):
            return None
        conditions = [_lengthened(condition, common) for condition in conditions]
    if "prompt_mask" in names:
        longest = max(condition["prompt_mask"].shape[1] for condition in conditions)
        conditions = [_padded(condition, longest) for condition in conditions]
    if any(len({condition[name].shape[1:] for condition in conditions}) > 1 for name in names):
        return None
    return list(conditions)


def _lengthened(condition: Condition, length: int) -> Condition:
    context = condition["context"]
    if context.shape[1] == length:
        return condition
    times = length // context.shape[1]
    return {**condition, "context": torch.cat([context] * times, dim=1)}


def _padded(condition: Condition, length: int) -> Condition:
    from torch.nn.functional import pad

    prompt, mask = condition["prompt"], condition["prompt_mask"]
    more = length - mask.shape[1]
    return {**condition, "prompt": pad(prompt, (0, 0, 0, more)), "prompt_mask": pad(mask, (0, more))}


def stacked(conditions: Sequence[Condition], batch: int) -> Condition | None:
    """Concatenate conditions for `batch` items each, or return None if their tensors have incompatible shapes.

    A tensor whose leading dimension is 1 is repeated for the batch.
    """
    found = fitted(conditions)
    if found is None:
        return None
    return {name: torch.cat([batched(condition[name], batch) for condition in found]) for name in found[0]}


def batched(value: Tensor, batch: int) -> Tensor:
    """Repeat a value of one item for a batch; a value that already has the batch is unchanged."""
    return value.expand(batch, *value.shape[1:]) if value.shape[0] == 1 else value
