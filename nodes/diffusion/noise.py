"""Where the noise comes from: the first noise of a run and the noise that a sampler adds at its steps.

Noise is drawn on the CPU in float32 and then delivered on the device asked for, so a seed means the same everywhere.

Rule "per_item": item i of a batch has a seed of its own, (seed + i) mod 2^64. Its first noise comes from that seed,
its step noise from blake2b("step", that seed), so step noise never repeats the first noise, and item i of a batch
equals a batch of one with seed + i. Rule "comfyui": one draw for the whole batch, and step noise from a fresh generator
with the same seed, so the first Gaussian step noise equals the first noise; it makes that program's pictures again.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Literal

import torch
import torchsde
from torch import Generator, Tensor

from latentloom.nodes.diffusion.brownian import BrownianPath
from latentloom.nodes.diffusion.sampler import NoiseKind, StepNoise

NoiseRule = Literal["per_item", "comfyui"]


def item_seeds(seed: int, batch: int) -> list[int]:
    """The seeds of the items of a batch under the rule per_item."""
    return [(seed + i) % 2**64 for i in range(batch)]


def step_seed(item_seed: int) -> int:
    """The seed of an item's step noise under the rule per_item."""
    return _hashed(b"step", item_seed)


def posterior_noise(shape: Sequence[int], seed: int) -> Tensor:
    """The noise [B, ...] that picks a latent of a VAE's answer: it is not the first noise of any seed near it."""
    seeds = [_hashed(b"posterior", one) for one in item_seeds(seed, shape[0])]
    return _draw([Generator().manual_seed(s) for s in seeds], shape)


def _hashed(purpose: bytes, seed: int) -> int:
    return int.from_bytes(blake2b(purpose + seed.to_bytes(8, "little"), digest_size=8).digest(), "little")


def _draw(generators: Sequence[Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal noise, the batch split evenly among the generators."""
    part = (shape[0] // len(generators), *shape[1:])
    return torch.cat([torch.randn(part, generator=generator) for generator in generators])


def first_noise(shape: Sequence[int], seed: int, rule: NoiseRule = "per_item") -> Tensor:
    """The noise [B, ...] that a run starts from."""
    seeds = [seed] if rule == "comfyui" else item_seeds(seed, shape[0])
    return _draw([Generator().manual_seed(s) for s in seeds], shape)


def step_noise(
    kind: NoiseKind,
    x_shape: Sequence[int],
    seed: int,
    rule: NoiseRule,
    sigmas: Tensor,
    *,
    device: torch.device | str = "cpu",
) -> StepNoise:
    """The noise that a sampler of this kind adds at its steps.

    "gaussian" draws anew at each call, whatever the interval. "brownian" gives the increments of a Brownian path in
    sigma, divided by the root of the interval: the answer depends on the interval only, not on the order of the calls,
    and runs with other step counts see the same path. "none" must not be called. `sigmas` are those of the run.
    """
    seeds = [seed] if rule == "comfyui" else [step_seed(s) for s in item_seeds(seed, x_shape[0])]
    nonzero = sigmas[sigmas > 0]
    if kind == "none" or len(nonzero) == 0:
        return _no_noise
    if kind == "gaussian":
        noise = _gaussian(x_shape, seeds)
    elif rule == "comfyui":
        noise = _brownian_of_batch(x_shape, seed, nonzero)
    else:
        noise = _brownian_per_item(x_shape, seeds, nonzero)
    return lambda sigma, sigma_next: noise(sigma, sigma_next).to(device)


def _no_noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    raise ValueError(f"a sampler declared to draw no noise asked for some, from {sigma:.6g} to {sigma_next:.6g}")


def _gaussian(shape: Sequence[int], seeds: Sequence[int]) -> StepNoise:
    generators = [Generator().manual_seed(s) for s in seeds]
    return lambda sigma, sigma_next: _draw(generators, shape)


def _brownian_per_item(shape: Sequence[int], seeds: Sequence[int], sigmas: Tensor) -> StepNoise:
    paths = [BrownianPath((1, *shape[1:]), sigmas.max().item(), seed) for seed in seeds]

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        high, low = sigma.item(), sigma_next.item()
        return torch.cat([path.increment(low, high) for path in paths]) / (high - low) ** 0.5

    return noise


def _brownian_of_batch(shape: Sequence[int], seed: int, sigmas: Tensor) -> StepNoise:
    """torchsde's Brownian tree with the sign of k-diffusion, whose path runs from sigma_min up.

    The tree rounds its ends to its tolerance, 6 digits, and warns of what lies beyond them, so queries are cut to fit.
    """
    sigma_min, sigma_max = sigmas.min().item(), sigmas.max().item()
    tree: Callable[[float, float], Tensor] = torchsde.BrownianTree(
        sigma_min, torch.zeros(*shape), sigma_max, entropy=seed
    )

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        high, low = sigma.item(), sigma_next.item()
        return tree(max(low, round(sigma_min, 6)), min(high, round(sigma_max, 6))) / -((high - low) ** 0.5)

    return noise
