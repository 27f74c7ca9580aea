"""Nodes that make noise, mix it and add it to latents."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Latent, Model, Seed, node
from latentloom.nodes.diffusion.plan import check_noise
from latentloom.nodes.diffusion.space import space_of

NoiseRule = Annotated[
    Literal["per_item", "comfyui", "comfyui_cuda", "comfyui_0_3"],
    Field(
        description="per_item: item i of a batch gets the noise of seed + i. comfyui: as ComfyUI draws it on this "
        "device; comfyui_cuda: as on a CUDA GPU; comfyui_0_3: as ComfyUI 0.3 did on a CPU."
    ),
]


@node("Noise", aliases=("random", "RandomNoise"), category="noise")
def noise(latent: Latent, seed: Seed = 0, noise_rule: Annotated[NoiseRule, Advanced()] = "per_item") -> Latent:
    """Draw the initial noise of a seed, in the size of a latent.

    The result is a latent of unit variance, for the `noise` input of a sampler.
    """
    from latentloom.nodes.diffusion.noise import first_noise

    return Latent(first_noise(latent.shape, seed, noise_rule), downscale=latent.downscale)


@node("NoiseBlend", display_name="Blend noise", aliases=("variation seed", "subseed", "variations"), category="noise")
def noise_blend(
    a: Latent,
    b: Latent,
    amount: Annotated[float, Field(ge=0, le=1, description="Interpolation weight: 0 is a alone, 1 is b alone.")] = 0.1,
) -> Latent:
    """Blend two noises and keep their variance. A small amount of another seed's noise gives a variation of an image.

    Spherical interpolation per item (Shoemake 1985); linear if two noises point in nearly the same direction.
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


@node("AddNoise", display_name="Add noise", aliases=("noise latent",), category="noise")
def add_noise(
    model: Model,
    latent: Latent,
    noise: Latent,
    sigma: Annotated[
        float,
        Field(
            ge=0, le=100_000, description="Noise level: standard deviation of the noise relative to the clean latent."
        ),
    ] = 1.0,
) -> Latent:
    """Add noise to a latent, to continue with a sampler whose sigmas start at that level, or between two samplers.

    Variances add up: sigma 3 added to a latent with sigma 4 gives 5. For flow-matching models sigma is in 0..1, and the
    added noise is scaled by sigma / (1 - sigma).
    """
    check_noise(latent, noise)
    scale = np.asarray(model.info["scaling_factor"]).reshape(-1, 1, 1)
    level = (space_of(model).level(sigma) / scale).astype(np.float32)
    return Latent(latent.numpy() + noise.numpy() * level, latent.noise_mask, downscale=latent.downscale)


NODES = (noise, noise_blend, add_noise)
