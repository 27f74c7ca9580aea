"""The settings of a training run."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VaeSettings:
    """The autoencoder: 128x128 pixels to 16x16 latents of four channels and back."""

    channels: tuple[int, ...] = (16, 32, 48, 64)
    batch: int = 8
    crop: int = 64
    crops_until: float = 0.7
    """Share of the time on crops; the rest is on whole pictures."""
    whole_batch: int = 6
    rate: float = 2e-3
    kl: float = 1e-4
    colours: float = 0.2
    """Weight of the loss of predicting each cell's mean colour from its latent by a linear map, as previews do."""
    spread: float = 0.05
    """Weight of the loss for uncorrelated channels of variance one, so that noise hides all channels equally."""
    edges: float = 0.5
    objects: float = 4.0
    """Weight of pixels that are not background."""
    outlines: float = 6.0
    """Additional weight of pixels along outlines, which define the shape."""
    decoder_rate: float = 6e-4
    noise: float = 0.25
    """Largest deviation of the noise in the latents while only the decoder is trained; the latents' own is 1."""


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The text encoder, and the map of the scene that it learns to predict before the UNet is trained."""

    width: int = 128
    layers: int = 3
    heads: int = 4
    batch: int = 64
    rate: float = 1e-3


@dataclass(frozen=True, slots=True)
class UnetSettings:
    """The denoiser."""

    channels: tuple[int, ...] = (40, 80, 96)
    heads: int = 4
    batch: int = 24
    """Pictures per step and process."""
    rate: float = 1e-3
    dropout: float = 0.1
    """Share of empty captions, which classifier-free guidance needs."""
    gamma: float = 5.0
    """Cap of the signal-to-noise weight (Hang et al., 2023)."""
    average: float = 0.9995
    pictures: int = 64_000
    """Latents encoded once, before training."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole run; `shares` distributes `minutes` among the phases."""

    seed: int = 20
    minutes: float = 107.0
    shares: tuple[float, float, float, float] = (0.196, 0.068, 0.652, 0.084)
    """VAE, text encoder, UNet, decoder."""
    checkpoint_every: float = 240.0
    """Seconds."""
    vae: VaeSettings = field(default_factory=VaeSettings)
    text: TextSettings = field(default_factory=TextSettings)
    unet: UnetSettings = field(default_factory=UnetSettings)


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """The training of the flow-matching sibling."""

    seed: int = 20
    heads: int = 5
    head_width: int = 32
    layers: int = 4
    batch: int = 24
    """Pictures per step and process."""
    rate: float = 2e-3
    matrix_rate: float = 6e-3
    """Learning rate of the matrices of the blocks, whose optimizer is Muon."""
    warm: int = 50
    """Steps until the learning rate is reached."""
    dropout: float = 0.1
    """Share of empty captions, which classifier-free guidance needs."""
    location: float = 0.5
    """Mean of log(sigma / (1 - sigma)) in training; above 0 there is more noise, as the layout needs."""
    average: float = 0.998
    pictures: int = 28_000
    """Latents encoded once, before training."""
