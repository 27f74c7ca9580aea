"""The training of a denoiser, whatever it predicts: batches of latents and captions, and the averaged weights."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from latentloom.training.latents import LatentSet
from latentloom.training.scenes import caption, draw_wording
from latentloom.training.text import Captions


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


class Objective(Protocol):
    """What a denoiser learns: the noise that is mixed in, and the loss of the answer."""

    def __call__(
        self, network: nn.Module, clean: Tensor, noise: Tensor, states: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """Return the loss for latents and noise [B, C, h, w] and token states [B, T, D]; times come from `rng`."""


class Batches(Protocol):
    """The settings of a denoiser's training that `DenoiserSteps` reads."""

    @property
    def batch(self) -> int:
        """Pictures per step and process."""

    @property
    def dropout(self) -> float:
        """Share of empty captions, which classifier-free guidance needs."""


class DenoiserSteps:
    """Training steps of a denoiser; the text encoder is frozen."""

    def __init__(
        self,
        network: nn.Module,
        encoder: CLIPTextModel,
        captions: Captions,
        data: LatentSet,
        average: Average,
        objective: Objective,
        settings: Batches,
        seed: int,
    ) -> None:
        self._network, self._encoder, self._captions = network, encoder, captions
        self._data, self._average, self._objective = data, average, objective
        self._settings, self._seed = settings, seed

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
        noise = torch.randn(clean.shape, generator=generator)
        return self._objective(self._network, clean, noise, states, rng), count

    def _say(self, rng: np.random.Generator, index: int) -> str:
        if rng.random() < self._settings.dropout:
            return ""
        return caption(self._data.scenes[index], draw_wording(rng))
