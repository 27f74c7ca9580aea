"""The denoiser and its training."""

from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel

from latentloom.nodes.diffusion.schedules import scaled_linear_table
from latentloom.training.latents import LatentSet
from latentloom.training.pictures import SIDE
from latentloom.training.scenes import caption, draw_wording
from latentloom.training.settings import Settings
from latentloom.training.text import Captions

STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


def noise_levels() -> Tensor:
    """Return the sigmas of the 1000 timesteps, float64."""
    return scaled_linear_table(BETA_START, BETA_END, STEPS)


def create_unet(settings: Settings) -> UNet2DConditionModel:
    """Create an untrained denoiser: plain blocks at full resolution, cross-attention in the deeper blocks."""
    channels = settings.unet.channels
    deeper = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deeper),
        up_block_types=(*("CrossAttnUpBlock2D",) * deeper, "UpBlock2D"),
        cross_attention_dim=settings.text.width,
        attention_head_dim=settings.unet.heads,
        norm_num_groups=8,
    )


class Average:
    """Exponential moving average (EMA) of a module's weights; short at first, to forget the untrained weights."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._live = dict(module.named_parameters())
        self.weights = {name: weight.detach().clone() for name, weight in self._live.items()}
        self._decay, self._count = decay, 0

    @torch.no_grad()
    def update(self) -> None:
        """Update the averages with the current weights."""
        self._count += 1
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        torch._foreach_lerp_(list(self.weights.values()), list(self._live.values()), 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and their count."""
        return {"weights": self.weights, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load averages and their count."""
        self.weights = {name: state["weights"][name].clone() for name in self._live}
        self._count = state["count"]


def loss_weights(snr: Tensor, gamma: float) -> Tensor:
    """Return the weight of the noise error at a signal-to-noise ratio.

    It is min(snr, gamma) / snr (Hang et al., 2023), increased by a factor of up to six for a low signal: there the
    layout is determined, and layout errors change the predicted noise only slightly.
    """
    return snr.clamp(max=gamma) / snr * (1 + 0.25 / (snr + 0.05))


def draw_times(rng: np.random.Generator, count: int) -> Tensor:
    """Draw timesteps for a batch by stratified sampling, with more of them at high noise."""
    even = (np.arange(count) + rng.random(count)) / count
    return torch.from_numpy((STEPS * even**0.75).astype(np.int64))


class UnetSteps:
    """Training steps of the denoiser; the text encoder is frozen."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        encoder: CLIPTextModel,
        captions: Captions,
        data: LatentSet,
        average: Average,
        settings: Settings,
    ) -> None:
        self._unet, self._encoder, self._captions = unet, encoder, captions
        self._data, self._average = data, average
        self._seed, self._settings = settings.seed, settings.unet
        self._alphas = 1 / (1 + noise_levels() ** 2)

    def __call__(self, step: int) -> tuple[Tensor, int]:
        """Return the loss and the number of pictures of one step."""
        self._average.update()
        count = self._settings.batch
        rng = np.random.default_rng([self._seed, 4, step])
        generator = torch.Generator().manual_seed(step)
        chosen = rng.integers(len(self._data.scenes), size=count)
        clean = self._data.latents[torch.from_numpy(chosen)].float()
        said = [self._say(rng, index) for index in chosen]
        with torch.no_grad():
            states = self._encoder(self._captions.tokens(said)).last_hidden_state
        times = draw_times(rng, count)
        alpha = self._alphas[times].float()[:, None, None, None]
        noise = torch.randn(clean.shape, generator=generator)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        error = (self._unet(noisy, times, states).sample - noise).square().mean(dim=(1, 2, 3))
        snr = (alpha / (1 - alpha)).flatten()
        return (loss_weights(snr, self._settings.gamma) * error).mean(), count

    def _say(self, rng: np.random.Generator, index: int) -> str:
        if rng.random() < self._settings.dropout:
            return ""
        return caption(self._data.scenes[index], draw_wording(rng))
