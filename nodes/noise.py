"""Nodes that make noise, mix it and add it to latents."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Latent, Model, Seed, node
from latentloom.nodes.diffusion.plan import check_noise
from latentloom.nodes.diffusion.space import space_of

NoiseRule = Annotated[
    Literal["per_item", "comfyui", "comfyui_cuda", "comfyui_0_3"],
    Field(
        description="per_item: picture i of a batch is that of seed + i. comfyui: as ComfyUI draws it on this device; "
        "_cuda: as on a CUDA card; _0_3: as its versions 0.3 did on a processor."
    ),
]


@node("Noise", category="noise")
def noise(latent: Latent, seed: Seed = 0, noise_rule: NoiseRule = "per_item") -> Latent:
    """Draw the noise that a sampler starts from with that seed, for a latent of that size.

    It is a latent of unit variance, for the `noise` input of a sampler.
    """
    from latentloom.nodes.diffusion.noise import first_noise

    return Latent(first_noise(latent.shape, seed, noise_rule), downscale=latent.downscale)


@node("NoiseBlend", category="noise")
def noise_blend(
    a: Latent,
    b: Latent,
    amount: Annotated[float, Field(ge=0, le=1, description="0 is a alone, 1 is b alone.")] = 0.1,
) -> Latent:
    """Mix two noises without losing their variance: a little of another seed's gives a variation of a picture.

    Spherical interpolation (Shoemake 1985), item by item; where two noises point in nearly the same direction, linear.
    """
    check_noise(a, b)
    one, other = (np.broadcast_to(item.numpy(), np.broadcast_shapes(a.shape, b.shape)) for item in (a, b))
    mixed = [_slerp(x, y, amount) for x, y in zip(one, other, strict=True)]
    return Latent(np.stack(mixed), downscale=a.downscale)


def _slerp(a: np.ndarray, b: np.ndarray, amount: float) -> np.ndarray:
    cosine = float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    if abs(cosine) > 0.9995:
        return a + (b - a) * np.float32(amount)
    angle = float(np.arccos(cosine))
    first, second = (np.sin(part * angle) / np.sin(angle) for part in (1 - amount, amount))
    return (np.float32(first) * a + np.float32(second) * b).astype(np.float32)


@node("AddNoise", category="noise")
def add_noise(
    model: Model,
    latent: Latent,
    noise: Latent,
    sigma: Annotated[float, Field(ge=0, le=100_000, description="How much: the noise for one part of picture.")] = 1.0,
) -> Latent:
    """Put noise on a latent: to go on from there with a sampler whose sigmas begin at that level, or between two.

    Noise on top of noise adds up by squares: sigma 3 on 4 gives 5. The sigmas of a flow are 0..1, and sigma / (1 -
    sigma) is what is added.
    """
    check_noise(latent, noise)
    scale = np.asarray(model.info["scaling_factor"]).reshape(-1, 1, 1)
    level = (space_of(model).level(sigma) / scale).astype(np.float32)
    return Latent(latent.numpy() + noise.numpy() * level, latent.noise_mask, downscale=latent.downscale)


NODES = (noise, noise_blend, add_noise)
