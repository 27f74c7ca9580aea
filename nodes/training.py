"""Nodes that train."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Absent, Advanced, Clip, Context, Image, Model, Seed, Text, Vae, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.families.lora.value import Lora
from latentloom.nodes.image_grid import image_grid
from latentloom.nodes.learning.dataset import Dataset
from latentloom.nodes.learning.header import header_of

MAX_PROMPTS = 16
Layers = Literal["all", "attention"]
Schedule = Literal["cosine", "linear", "constant"]


class TrainedLora(NamedTuple):
    """A LoRA, sample pictures by step, and the plot of the loss."""

    lora: Lora
    samples: Image | Absent
    losses: Image


@node(
    "TrainLora",
    category="training",
    device=True,
    economies=1,
    display_name="Train LoRA",
    aliases=("fine-tune", "DreamBooth", "learn"),
)
def train_lora(
    ctx: Context,
    model: Model,
    clip: Clip,
    vae: Vae,
    dataset: Dataset,
    prior: Annotated[
        Dataset | None,
        Field(
            description="Pictures of what the model must not forget, best made by the model itself from its own "
            "prompts (prior preservation)."
        ),
    ] = None,
    held_out: Annotated[
        Dataset | None, Field(description="Pictures that are not learnt from; their loss is measured with each sample.")
    ] = None,
    start_from: Annotated[
        Lora | None, Field(description="A LoRA to train further, of the same rank, layers and model.")
    ] = None,
    steps: Annotated[int, Field(ge=1, le=100_000, description="Number of training steps.")] = 150,
    rate: Annotated[
        float, Field(ge=1e-7, le=1, description="Learning rate: 0.001 for small models, 0.0001 for SD 1.5 and SDXL.")
    ] = 1e-4,
    rank: Annotated[int, Field(ge=1, le=1024, description="Rank: how much the LoRA can hold. 4 to 32 is usual.")] = 8,
    alpha: Annotated[
        float,
        Advanced(),
        Field(ge=0.01, le=1024, description="Alpha: the LoRA is scaled by alpha / rank; equal to the rank is 1."),
    ] = 8.0,
    layers: Annotated[
        Layers,
        Field(
            description="all: linear layers and convolutions of all blocks, for new shapes and subjects. attention: "
            "attention only, smaller and milder, for styles."
        ),
    ] = "all",
    batch: Annotated[int, Field(ge=1, le=256, description="Pictures of the data set per step.")] = 4,
    schedule: Annotated[
        Schedule, Advanced(), Field(description="How the rate falls: cosine, linear, or constant.")
    ] = "cosine",
    min_snr: Annotated[
        float,
        Advanced(),
        Field(ge=0, le=100, description="Gamma of min-SNR weighting (Hang et al. 2023); 0: none. Flows do without."),
    ] = 5.0,
    noise_shift: Annotated[
        float,
        Advanced(),
        Field(
            ge=0.1,
            le=20,
            description="Above 1, more of the training is at high noise, where shapes and layout are decided.",
        ),
    ] = 1.0,
    caption_dropout: Annotated[
        float, Advanced(), Field(ge=0, le=1, description="Share of empty captions, which keeps guidance working.")
    ] = 0.1,
    prior_batch: Annotated[int, Advanced(), Field(ge=1, le=256, description="Pictures of the prior per step.")] = 3,
    prior_weight: Annotated[
        float, Advanced(), Field(ge=0, le=10, description="Weight of the error on the prior.")
    ] = 1.0,
    train_text: Annotated[bool, Field(description="Train the CLIPs of the text encoder too.")] = False,
    sample_prompts: Annotated[
        Text, Field(max_length=10_000, description="Prompts of sample pictures, one per line; empty: no samples.")
    ] = "",
    sample_every: Annotated[
        int, Field(ge=0, le=100_000, description="Draw samples after this number of steps; 0: only at the end.")
    ] = 0,
    seed: Seed = 0,
) -> TrainedLora:
    """Train a LoRA on pictures with captions, for Stable Diffusion 1, 2, XL and for flow-matching models.

    The result is a value: ApplyLora puts it on a model, SaveLora writes a file. A training that is cancelled or killed
    goes on where it was when the workflow runs again with the same inputs.
    """
    from latentloom.nodes.learning.lora import LoraTraining, Settings
    from latentloom.nodes.learning.samples import sampled
    from latentloom.nodes.learning.training import Pace, curve

    prompts = _prompts(sample_prompts)
    settings = Settings(
        rank=rank,
        alpha=alpha,
        layers=layers,
        pace=Pace(steps, rate, schedule),
        batch=batch,
        dropout=caption_dropout,
        gamma=min_snr,
        shift=noise_shift,
        prior_batch=prior_batch,
        prior_weight=prior_weight,
        train_text=train_text,
        seed=seed,
    )
    training = LoraTraining(ctx, model, clip, vae, settings)
    material = training.prepare(dataset, prior, held_out)
    header = header_of(model, dataset, settings)
    size = dataset.items[0].pixels.shape[:2]
    for until in _pauses(steps, sample_every):
        state = training.go_on(material, until, start_from)
        if prompts and until not in state.measured.samples:
            lora = Lora(training.tensors(), header)
            state.measured.samples[until] = sampled(ctx, model, clip, vae, lora, prompts, size, seed)
            ctx.keep(state.data())
    sheet = _sheet(state.measured.samples, prompts) if prompts else _no_samples()
    return TrainedLora(Lora(training.tensors(), header), sheet, curve(state))


def _prompts(text: str) -> list[str]:
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if len(found) > MAX_PROMPTS:
        raise BadValueError("too many sample prompts", expected=f"at most {MAX_PROMPTS}", got=str(len(found)))
    return found


def _pauses(steps: int, every: int) -> list[int]:
    """Return the numbers of steps after which samples are drawn."""
    return [*range(every, steps, every), steps] if every else [steps]


def _sheet(samples: dict[int, np.ndarray], prompts: list[str]) -> Image:
    """Return one row of pictures for each step, with the prompts above the first."""
    images = [Image(pictures.astype(np.float32) / np.float32(255)) for pictures in samples.values()]
    labels = [
        f"step {step}" + (f"\n{prompt}" if row == 0 else "") for row, step in enumerate(samples) for prompt in prompts
    ]
    return image_grid(images, columns=len(prompts), labels=labels)


def _no_samples() -> Absent:
    return Absent("TrainLora draws no samples without prompts", "write prompts into 'sample_prompts', one per line")


NODES = (train_lora,)
