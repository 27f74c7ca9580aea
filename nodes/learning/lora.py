"""Trains a LoRA: adapters on the layers of a denoiser, and of its CLIPs if they learn too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentloom.engine import Clip, Cond, Context, Model, Vae
from latentloom.engine.errors import BadValueError
from latentloom.engine.models.streaming import needs_calls
from latentloom.nodes.diffusion.run import denoiser_of
from latentloom.nodes.families.lora.value import Lora
from latentloom.nodes.learning.adapters import Adapter, Layers, Names, adapters_of, attached, go_on_from
from latentloom.nodes.learning.batches import Batches
from latentloom.nodes.learning.dataset import Dataset
from latentloom.nodes.learning.examples import Conditions, Pictures, encoded, no_residuals, read
from latentloom.nodes.learning.objective import Objective, drawn, objective_of
from latentloom.nodes.learning.state import State
from latentloom.nodes.learning.training import Pace, gradients_of, run

HELD_OUT = 16  # noised pictures that the held-out loss is measured on, the same ones each time


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a training."""

    rank: int
    alpha: float
    layers: Layers
    pace: Pace
    batch: int
    dropout: float
    gamma: float
    shift: float
    prior_batch: int
    prior_weight: float
    train_text: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Material:
    """What is learnt from: pictures, those of the prior, held-out ones, and the entries of all their captions."""

    concept: Pictures
    prior: Pictures | None
    held_out: Pictures | None
    entries: Mapping[str, Cond]

    @property
    def captions(self) -> set[str]:
        """All captions, and the empty one."""
        return captions_of(self.concept, self.prior, self.held_out)


def captions_of(*sets: Pictures | None) -> set[str]:
    """Return the captions of sets, and the empty one."""
    return {"", *(caption for found in sets if found is not None for caption in found.captions)}


class LoraTraining:
    """One training. Between calls of `go_on`, no model is borrowed, so that samples can be made."""

    def __init__(self, ctx: Context, model: Model, clip: Clip, vae: Vae, settings: Settings) -> None:
        self._ctx, self._model, self._clip, self._vae, self._settings = ctx, model, clip, vae, settings
        self._denoiser = denoiser_of(ctx, model)
        self._objective: Objective = objective_of(model, settings.gamma)
        self._adapters: list[Adapter] = []
        self.state: State | None = None

    def prepare(self, dataset: Dataset, prior: Dataset | None, held_out: Dataset | None) -> Material:
        """Encode the pictures and captions."""
        sets = [found and encoded(self._ctx, self._vae, self._model, found) for found in (dataset, prior, held_out)]
        concept, *others = sets
        assert concept is not None
        return Material(concept, *others, read(self._ctx, self._clip, sorted(captions_of(*sets))))

    def go_on(self, material: Material, until: int, start: Lora | None) -> State:
        """Train until `until` steps are done, and measure the held-out loss. Returns the state."""
        settings = self._settings
        handles = (self._model, self._clip) if settings.train_text else (self._model,)
        with self._ctx.load(*handles) as loaded, torch.enable_grad():
            net, reader = loaded[0], loaded[1] if settings.train_text else None
            self._adapt(net, reader, start)
            assert self.state is not None
            with attached(self._adapters):
                step = _Step(self, material, net, reader)
                run(self._ctx, self.state, settings.pace, until, step.loss)
                if material.held_out is not None:
                    self.state.measured.held_out.setdefault(until, step.held_out())
        return self.state

    def _adapt(self, net: Any, reader: Any, start: Lora | None) -> None:
        """Make the adapters at the first call; later ones find the modules again, which may have been loaded anew."""
        for module in (net, *([] if reader is None else [reader.modules])):
            if needs_calls(module):
                raise BadValueError(
                    "the model does not fit into the memory for training",
                    expected="room for all of its weights, not packed",
                    hint="use a smaller or an unpacked model, or more memory: --vram-budget",
                )
        old, generator = self._adapters, torch.Generator().manual_seed(self._settings.seed % 2**63)
        self._adapters = [
            adapter
            for names, network in self._networks(net, reader)
            for adapter in adapters_of(
                network,
                names,
                self._settings.layers,
                self._settings.rank,
                self._settings.alpha,
                generator,
                next(network.parameters()).device,
            )
        ]
        if self.state is not None:
            self._adapters = [
                Adapter(new.names, new.layer, new.module, kept.down, kept.up, kept.scale)
                for new, kept in zip(self._adapters, old, strict=True)
            ]
            return
        if start is not None:
            go_on_from(self._adapters, start)
        weights = [factor for adapter in self._adapters for factor in (adapter.down, adapter.up)]
        self.state = State(weights, self._settings.pace.rate)
        kept_state = self._ctx.kept()
        if kept_state is not None:
            self.state.load(kept_state)

    def _networks(self, net: Any, reader: Any) -> Iterator[tuple[Names, Any]]:
        yield "lora_unet" if self._denoiser.unet else "transformer", net
        if reader is None:
            return
        if not reader.encoders:
            raise BadValueError(
                "this text encoder cannot learn here",
                expected="a CLIP",
                got=type(reader).__name__,
                hint="train the model only",
            )
        names: Sequence[Names] = ("lora_te",) if len(reader.encoders) == 1 else ("lora_te1", "lora_te2")
        for name, encoder in zip(names, reader.encoders, strict=True):
            yield name, encoder.model

    def tensors(self) -> dict[str, Any]:
        """Return the tensors of the LoRA as it is now."""
        return {name: array for adapter in self._adapters for name, array in adapter.tensors().items()}

    @property
    def size(self) -> tuple[int, int]:
        """The number of layers with an adapter, and of weights that learn."""
        return len(self._adapters), sum(a.down.numel() + a.up.numel() for a in self._adapters)


class _Step:
    """Computes losses with a loaded network."""

    def __init__(self, training: LoraTraining, material: Material, net: Any, reader: Any) -> None:
        settings = training._settings
        self._settings, self._material, self._net = settings, material, net
        self._training, self._ctx = training, training._ctx
        first = next(net.parameters())
        self._device, self._dtype = first.device, first.dtype
        self._weights = training.state.weights if training.state is not None else []
        self._conditions = Conditions(
            training._model,
            training._denoiser,
            lambda value: value.to(self._device, self._dtype),
            material.entries.__getitem__ if reader is None else lambda text: _live(reader, text),
            {} if reader is None else None,
        )
        seed = settings.seed
        concept, prior = material.concept, material.prior
        self._batches = Batches(concept.shapes, concept.repeats, settings.batch, [seed, 1])
        self._prior = prior and Batches(prior.shapes, prior.repeats, settings.prior_batch, [seed, 2])

    def loss(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """Return the loss of a step and its gradients."""
        material, settings = self._material, self._settings
        parts = [(material.concept, self._batches.at(step), 1.0)]
        if material.prior is not None and self._prior:
            parts.append((material.prior, self._prior.at(step), settings.prior_weight))
        total = sum(len(chosen) for _, chosen, _ in parts)
        chosen = [(pictures, n, weight / total) for pictures, found, weight in parts for n in found]
        dropped = torch.rand(len(chosen), generator=_generator(settings.seed, 3, step)) < settings.dropout
        return self._descent(chosen, dropped.tolist(), [settings.seed, 4, step])

    def _descent(
        self, chosen: list[tuple[Pictures, int, float]], dropped: list[bool], seed: list[int]
    ) -> tuple[Tensor, list[Tensor]]:
        """Sum up losses and gradients of passes: pictures of one shape at once, or one by one to save memory."""
        whole, gradients = torch.zeros(()), [torch.zeros_like(weight) for weight in self._weights]
        for number, places in enumerate(self._passes(chosen)):
            latents = torch.cat([chosen[n][0].latents[chosen[n][1]] for n in places]).to(self._device)
            texts = ["" if dropped[n] else chosen[n][0].captions[chosen[n][1]] for n in places]
            weights = torch.tensor([chosen[n][2] for n in places], device=self._device)
            loss = (self._errors(latents, texts, [*seed, number]) * weights).sum()
            found = gradients_of(loss, self._weights)
            gradients = [one + more for one, more in zip(gradients, found, strict=True)]
            whole = whole + loss.detach().cpu()
        return whole, gradients

    def _passes(self, chosen: list[tuple[Pictures, int, float]]) -> list[list[int]]:
        if self._ctx.economy:
            return [[n] for n in range(len(chosen))]
        groups: dict[tuple[int, ...], list[int]] = {}
        for n, (pictures, place, _) in enumerate(chosen):
            groups.setdefault(tuple(pictures.latents[place].shape), []).append(n)
        return list(groups.values())

    def _errors(self, latents: Tensor, texts: list[str], seed: list[int]) -> Tensor:
        """Return the weighted error of each picture."""
        noise, shares = drawn(tuple(latents.shape), seed, self._settings.shift)
        example = self._training._objective(latents, noise.to(self._device), shares.to(self._device))
        condition = self._conditions.of(texts, latents)
        call = self._training._denoiser.call
        answer = call(self._net, example.x.to(self._dtype), example.time, condition, no_residuals)
        return example.weight * (answer.float() - example.target).square().flatten(1).mean(dim=1)

    def held_out(self) -> float:
        """Return the loss on held-out pictures: the same pictures, levels and noise each time."""
        pictures = self._material.held_out
        assert pictures is not None
        with torch.no_grad():
            losses = []
            for n in range(HELD_OUT):
                place = n % len(pictures.latents)
                latents = pictures.latents[place].to(self._device)
                noise, _ = drawn(tuple(latents.shape), [5, n])
                share = torch.tensor([(n + 0.5) / HELD_OUT], device=self._device)
                example = self._training._objective(latents, noise.to(self._device), share)
                condition = self._conditions.of([pictures.captions[place]], latents)
                call = self._training._denoiser.call
                answer = call(self._net, example.x.to(self._dtype), example.time, condition, no_residuals)
                losses.append(float((example.weight * (answer.float() - example.target).square().mean()).sum()))
        return sum(losses) / len(losses)


class _Live:
    """An encoded text that gradients flow through; it stands for an Array."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._tensor.shape)

    def tensor(self) -> Tensor:
        return self._tensor


def _live(reader: Any, text: str) -> Cond:
    told = reader.read(text, "plain")
    arrays = {} if told.pooled is None else {"pooled": _Live(told.pooled)}
    return Cond(_Live(told.embedding), {}, arrays)  # type: ignore[arg-type]


def _generator(*numbers: int) -> torch.Generator:
    import numpy as np

    return torch.Generator().manual_seed(int(np.random.default_rng(list(numbers)).integers(2**63)))
