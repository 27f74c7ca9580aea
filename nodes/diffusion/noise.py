"""The noise of a run: its first noise and the noise that a sampler adds at each step.

Noise is drawn on the CPU in float32 and then moved to the requested device, so a seed gives the same noise on every
machine. Only the rule "comfyui" draws on the device, as ComfyUI does.

Rule "per_item": item i of a batch has the seed (seed + i) mod 2^64. Its first noise is drawn from that seed, its step
noise from blake2b("step", that seed) and the interval of sigmas. So step noise never repeats the first noise, item i
of a batch equals a batch of one with seed + i, and a run in two parts draws the same noise as the whole run.

The rules "comfyui*" reproduce ComfyUI's pictures: one draw for the whole batch, and step noise from a second
generator. "comfyui" is the current behaviour: step noise is seeded with seed + 1 on the CPU, and with the seed itself
on a GPU, which uses its own generator. "comfyui_cuda" gives the step noise of a CUDA device on any machine.
"comfyui_0_3" is the behaviour of 2025 on the CPU, where the first gaussian step noise repeats the first noise.
"""

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Literal

import torch
import torchsde
from torch import Generator, Tensor

from latentloom.nodes.diffusion.brownian import BrownianPath
from latentloom.nodes.diffusion.philox import CudaGenerator
from latentloom.nodes.diffusion.sampler import NoiseKind, StepNoise

NoiseRule = Literal["per_item", "comfyui", "comfyui_cuda", "comfyui_0_3"]


def item_seeds(seed: int, batch: int) -> list[int]:
    """Return the seeds of a batch's items under the rule per_item."""
    return [(seed + i) % 2**64 for i in range(batch)]


def step_seed(item_seed: int) -> int:
    """Return the seed of an item's step noise under the rule per_item."""
    return _hashed(b"step", item_seed)


def posterior_noise(shape: Sequence[int], seed: int) -> Tensor:
    """Draw the noise [B, ...] for a sample of a VAE's posterior. It differs from the first noise of nearby seeds."""
    seeds = [_hashed(b"posterior", one) for one in item_seeds(seed, shape[0])]
    return _draw([Generator().manual_seed(s) for s in seeds], shape)


def _hashed(purpose: bytes, seed: int) -> int:
    return int.from_bytes(blake2b(purpose + seed.to_bytes(8, "little"), digest_size=8).digest(), "little")


def _draw(generators: Sequence[Generator], shape: Sequence[int]) -> Tensor:
    """Draw standard normal noise; the batch is split evenly among the generators."""
    part = (shape[0] // len(generators), *shape[1:])
    return torch.cat([torch.randn(part, generator=generator) for generator in generators])


def first_noise(shape: Sequence[int], seed: int, rule: NoiseRule = "per_item") -> Tensor:
    """Draw the noise [B, ...] that a run starts from."""
    seeds = item_seeds(seed, shape[0]) if rule == "per_item" else [seed]
    return _draw([Generator().manual_seed(s) for s in seeds], shape)


def step_noise(
    kind: NoiseKind,
    x_shape: Sequence[int],
    seed: int,
    rule: NoiseRule,
    sigmas: Tensor,
    *,
    largest: float = 0.0,
    device: torch.device | str = "cpu",
) -> StepNoise:
    """Return the step noise of a sampler; `sigmas` are the sigmas of the run.

    "gaussian" draws new noise for each interval. "brownian" returns the increments of a Brownian path in sigma, divided
    by the square root of the interval's length, so that runs with different step counts use the same path. Under
    per_item both depend only on the seed and the interval, not on the order of the calls. The path covers 0..`largest`,
    the model's largest sigma, and is extended if necessary. The noise of "none" must not be called.
    """
    nonzero = sigmas[sigmas > 0]
    if kind == "none" or len(nonzero) == 0:
        return _no_noise
    if rule == "per_item":
        seeds = [step_seed(s) for s in item_seeds(seed, x_shape[0])]
        end = largest or nonzero.max().item()
        noise = _gaussian(x_shape, seeds) if kind == "gaussian" else _brownian(x_shape, seeds, end)
    else:
        drawn = kind == "gaussian"
        noise = _gaussian_of_batch(x_shape, seed, rule, device) if drawn else _brownian_of_batch(x_shape, seed, nonzero)
    return lambda sigma, sigma_next: noise(sigma, sigma_next).to(device)


def _no_noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    raise ValueError(f"a sampler declared to draw no noise asked for some, from {sigma:.6g} to {sigma_next:.6g}")


def _gaussian(shape: Sequence[int], seeds: Sequence[int]) -> StepNoise:
    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        interval = struct.pack("<ff", sigma.item(), sigma_next.item())
        return _draw([Generator().manual_seed(_hashed(interval, seed)) for seed in seeds], shape)

    return noise


def _gaussian_of_batch(shape: Sequence[int], seed: int, rule: NoiseRule, device: torch.device | str) -> StepNoise:
    if rule == "comfyui_cuda":
        card = CudaGenerator(seed)
        return lambda sigma, sigma_next: card.normal(shape)
    place = torch.device("cpu" if rule == "comfyui_0_3" else device)
    own = (seed + 1) % 2**64 if rule == "comfyui" and place.type == "cpu" else seed
    generator = Generator(place).manual_seed(own)
    return lambda sigma, sigma_next: torch.randn(tuple(shape), generator=generator, device=place)


def _brownian(shape: Sequence[int], seeds: Sequence[int], end: float) -> StepNoise:
    paths = [BrownianPath((1, *shape[1:]), end, seed) for seed in seeds]

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        high, low = sigma.item(), sigma_next.item()
        return torch.cat([path.increment(low, high) for path in paths]) / (high - low) ** 0.5

    return noise


def _brownian_of_batch(shape: Sequence[int], seed: int, sigmas: Tensor) -> StepNoise:
    """torchsde's Brownian tree with the sign of k-diffusion, whose path ascends from sigma_min.

    The tree rounds its ends to 6 digits, its tolerance, and warns of queries outside, so queries are clamped.
    """
    sigma_min, sigma_max = sigmas.min().item(), sigmas.max().item()
    tree: Callable[[float, float], Tensor] = torchsde.BrownianTree(
        sigma_min, torch.zeros(*shape), sigma_max, entropy=seed
    )

    def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        high, low = sigma.item(), sigma_next.item()
        return tree(max(low, round(sigma_min, 6)), min(high, round(sigma_max, 6))) / -((high - low) ** 0.5)

    return noise
