"""The autoencoder between pixels and latents, and its training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from latentloom.training.pictures import SIDE, Painter, Pixels, grid
from latentloom.training.scenes import training_scenes
from latentloom.training.settings import Settings, VaeSettings

Channels = tuple[int, ...]


def create_vae(channels: Channels) -> AutoencoderKL:
    """Create an untrained autoencoder with one resolution per entry of `channels`."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )
    # Start with little noise: the decoder learns to ignore channels in which the noise hides the signal.
    torch.nn.init.constant_(vae.quant_conv.bias[4:], -4.0)
    return vae


def to_tensor(pictures: list[Pixels]) -> Tensor:
    """Convert [H, W, 3] bytes to float [B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def to_pixels(batch: Tensor) -> list[Pixels]:
    """Convert float [B, 3, H, W] in -1..1 to [H, W, 3] bytes."""
    return list(batch.float().add(1).mul(127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())


class VaeSteps:
    """Training steps of the autoencoder: first on crops, which are cheap, then on whole pictures."""

    def __init__(self, vae: AutoencoderKL, colours: nn.Module, settings: Settings, share: Callable[[], float]) -> None:
        """`colours` is a temporary map from latents to mean colours (see `create_colours`)."""
        self._vae, self._colours, self._settings, self._seed = vae, colours, settings.vae, settings.seed
        self._share = share
        self._painter = Painter()

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Return the loss and the number of pictures of one step."""
        settings = self._settings
        whole = self._share() >= settings.crops_until
        count, side = (settings.whole_batch, SIDE) if whole else (settings.batch, settings.crop)
        pictures = draw_batch(self._painter, np.random.default_rng([self._seed, 1, step]), count, side)
        noise = torch.Generator().manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = self._vae.encode(pictures).latent_dist
            decoded = self._vae.decode(posterior.sample(generator=noise)).sample
        return picture_loss(decoded.float(), pictures, settings) + self._latent_loss(posterior, pictures), count

    def _latent_loss(self, posterior: Any, pictures: Tensor) -> Tensor:
        """The loss on the latents themselves, independent of the decoder."""
        mean, settings = posterior.mean.float(), self._settings
        kl = posterior.kl().mean() / mean[0].numel()
        cells = functional.avg_pool2d(pictures, pictures.shape[-1] // mean.shape[-1])
        colours = (self._colours(mean) - cells).square().mean()
        return settings.kl * kl + settings.colours * colours + settings.spread * unevenness(mean)


class DecoderSteps:
    """Further training steps of the decoder only, on whole pictures and slightly noisy latents like the UNet's."""

    def __init__(self, vae: AutoencoderKL, settings: Settings) -> None:
        self._vae, self._settings, self._seed = vae, settings.vae, settings.seed
        self._painter = Painter()

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Return the loss and the number of pictures of one step."""
        settings = self._settings
        pictures = draw_batch(self._painter, np.random.default_rng([self._seed, 5, step]), settings.whole_batch, SIDE)
        generator = torch.Generator().manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = self._vae.encode(pictures).latent_dist.mode().float()
            level = torch.rand(len(latents), 1, 1, 1, generator=generator) * settings.noise
            noise = torch.randn(latents.shape, generator=generator) * level / self._vae.config.scaling_factor
            decoded = self._vae.decode(latents + noise).sample
        return picture_loss(decoded.float(), pictures, settings), len(pictures)


def create_colours() -> nn.Conv2d:
    """Create a linear map from a latent to the mean colour of its cell, used only in training."""
    return nn.Conv2d(4, 3, 1)


def unevenness(latents: Tensor) -> Tensor:
    """Return the squared distance of the covariance of the channels of [B, C, h, w] from the identity."""
    covariance = torch.cov(latents.movedim(1, 0).flatten(1))
    return (covariance - torch.eye(len(covariance))).square().mean()


def draw_batch(painter: Painter, rng: np.random.Generator, count: int, side: int) -> Tensor:
    """Paint new pictures and crop squares, float [B, 3, side, side] in -1..1."""
    scenes = training_scenes(rng)
    pictures = [painter.paint(next(scenes), rng) for _ in range(count)]
    corners = rng.integers(0, SIDE - side + 1, size=(count, 2))
    return to_tensor([p[y : y + side, x : x + side] for p, (x, y) in zip(pictures, corners, strict=True)])


def picture_loss(decoded: Tensor, wanted: Tensor, settings: VaeSettings) -> Tensor:
    """Mean absolute and squared error, weighted towards objects and outlines, plus the gradients of the error."""
    error = decoded - wanted
    ground = wanted.flatten(2).median(dim=2).values[..., None, None]
    there = (wanted - ground).abs().amax(dim=1, keepdim=True) > 0.1
    steep = functional.max_pool2d(_steepness(wanted), 3, stride=1, padding=1) > 0.1
    weight = 1 + (settings.objects - 1) * there + settings.outlines * steep
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return (weight * (error.abs() + error.square())).mean() + settings.edges * edges


def _steepness(pictures: Tensor) -> Tensor:
    """The largest difference to a neighbouring pixel, [B, 1, H, W]."""
    down = functional.pad(pictures.diff(dim=2).abs(), (0, 0, 0, 1))
    along = functional.pad(pictures.diff(dim=3).abs(), (0, 1, 0, 0))
    return torch.maximum(down, along).amax(dim=1, keepdim=True)


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pictures: list[Pixels]) -> list[Pixels]:
    """Encode and decode pictures."""
    return to_pixels(vae.decode(vae.encode(to_tensor(pictures)).latent_dist.mode()).sample)


def show_round_trip(vae: AutoencoderKL, seed: int, file: Path) -> float:
    """Save a sheet of pictures above their round trips; return the mean error in 0..1."""
    rng, painter = np.random.default_rng(seed), Painter()
    scenes = training_scenes(rng)
    pictures = [painter.paint(next(scenes), rng) for _ in range(16)]
    again = round_trip(vae, pictures)
    rows = [*pictures[:8], *again[:8], *pictures[8:], *again[8:]]
    grid(rows, 8).save(file)
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() / 255 for a, b in zip(pictures, again, strict=True)]))


@torch.no_grad()
def measure_latents(vae: AutoencoderKL, seed: int, count: int = 512) -> float:
    """Measure the factor that scales latents to a standard deviation of one."""
    rng, painter = np.random.default_rng(seed), Painter()
    scenes = training_scenes(rng)
    pictures = [painter.paint(next(scenes), rng) for _ in range(count)]
    latents = torch.cat([vae.encode(to_tensor(pictures[i : i + 32])).latent_dist.mode() for i in range(0, count, 32)])
    return float(1 / latents.std())
