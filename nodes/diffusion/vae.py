"""Encodes pictures to latents with a VAE and decodes them, at once or tile by tile.

Pictures are [B, H, W, C] in 0..1, latents [B, C, h, w], unscaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentloom.engine import Context, Image, Latent, Model, Vae
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.seamless import axes_of, circular
from latentloom.nodes.diffusion.vae_tiles import encode_tiles

if TYPE_CHECKING:
    from torch import Tensor


LATENTS = {"wan": "Qwen-Image and Wan", "flux2": "Flux.2"}
"""Titles of latents that cannot be distinguished by their number of channels."""

TILES = (0, 512, 256)  # tile size in pixels, by economy level; 0: no tiles


def encode(ctx: Context, vae: Vae, image: Image, seed: int | None = None) -> Latent:
    """Encode pictures to latents: the encoder's mean, or a sample if there is a seed.

    Raises BadValueError for a VAE without an encoder, and for sides that are not multiples of its downscale.
    """
    step = vae.info["downscale"]
    check_encodes(vae)
    check_sides(image, step)
    tile = TILES[ctx.economy]
    mean, std = encode_tiles(ctx, vae, image, tile, tile // 8) if tile else _encoded(ctx, vae, image)
    from latentloom.nodes.diffusion.noise import posterior_noise

    samples = mean.clone() if seed is None else mean + std * posterior_noise(tuple(mean.shape), seed)
    return Latent(samples, downscale=step)


def _encoded(ctx: Context, vae: Vae, image: Image) -> tuple[Tensor, Tensor]:
    pixels = image.tensor()[..., :3].movedim(-1, 1) * 2 - 1
    with ctx.load(vae) as (model,), circular([model]) as ring, ring.on(axes_of(vae.patches)):
        found = model.encode(pixels.to(model.device, model.dtype)).latent_dist
        return found.mean.float().cpu(), found.std.float().cpu()


def check_vae(vae: Vae, model: Model) -> None:
    """Raise BadValueError for a VAE whose latents are not those of the model."""
    if latents_of(vae) != latents_of(model):
        raise BadValueError(
            f"the VAE '{vae.files[0].name}' does not fit '{model.files[0].name}'",
            expected=f"{model.info.get('vae', 'a VAE')} ({latents_of(model)})",
            got=latents_of(vae),
        )


def latents_of(handle: Model | Vae) -> str:
    """Return the kind of latents of a model or a VAE."""
    kind = handle.info.get("latents")
    return f"{handle.info['channels']} channels" + (f" of {LATENTS[kind]}" if kind else "")


def check_encodes(vae: Vae) -> None:
    """Raise BadValueError for a VAE that has only a decoder."""
    if not vae.info.get("encodes", True):
        raise BadValueError(
            f"'{vae.files[0].name}' contains only a decoder, which cannot encode pictures",
            expected="a VAE with encoder and decoder",
            got="a decoder",
            hint="load a complete VAE from another file with LoadVAE",
        )


def check_sides(image: Image, step: int) -> None:
    """Raise BadValueError for pictures whose sides are not multiples of a VAE's downscale."""
    height, width = image.shape[1:3]
    if height % step or width % step:
        raise BadValueError(
            f"the picture's sides are not multiples of {step}",
            expected=f"for example {width // step * step}x{height // step * step}",
            got=f"{width}x{height}",
            hint="resize or crop it first, with ImageScale or ImageCrop",
        )


def check_decodes(vae: Vae, latent: Latent) -> None:
    """Raise BadValueError for latents whose number of channels differs from the VAE's."""
    channels = vae.info.get("channels", latent.shape[1])
    if latent.shape[1] != channels:
        raise BadValueError(
            f"the VAE '{vae.files[0].name}' does not fit the latent",
            expected=f"{channels} channels",
            got=f"{latent.shape[1]} channels",
            hint="use the VAE of the model that the latent was sampled with",
        )


def decode(ctx: Context, vae: Vae, latent: Latent) -> Image:
    """Decode latents to pictures. Raises BadValueError for latents of another VAE."""
    check_decodes(vae, latent)
    with ctx.load(vae) as (model,), circular([model]) as ring, ring.on(axes_of(vae.patches)):
        pixels = model.decode(latent.tensor().to(model.device, model.dtype)).sample
    return Image((pixels.float().cpu() / 2 + 0.5).clamp(0, 1).movedim(1, -1))
