"""Nodes that show the internals of sampling: noise, schedules, latents, steps and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import Field

from latentloom.engine import Advanced, Clip, Conditioning, Context, Image, Latent, Mentions, Model, Seed, Text, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.conditioning import PromptGrammar
from latentloom.nodes.diffusion.plan import Plan, cells_for, schedule_of, sigmas_of
from latentloom.nodes.diffusion.run import check_channels, sample_latent
from latentloom.nodes.diffusion.space import space_of
from latentloom.nodes.drawing.limits import check_latent, check_size
from latentloom.nodes.drawing.plot import Scale, plot
from latentloom.nodes.drawing.table import as_text, table
from latentloom.nodes.families.latent_scale import scaled, unscaled
from latentloom.nodes.families.textual_inversion.words import SOURCE, Embeddings, warn_unusable
from latentloom.nodes.image_grid import image_grid
from latentloom.nodes.noise import NoiseRule
from latentloom.nodes.sampling import ECONOMIES, Cfg, Denoise, SamplerName, ScheduleName, Steps
from latentloom.nodes.text.entry import name_of
from latentloom.nodes.text.reader import clip_of
from latentloom.nodes.text.token_rows import token_rows

if TYPE_CHECKING:
    from torch import Tensor


class NoisedLatents(NamedTuple):
    """Latents at several noise levels, as one batch, with a label for each."""

    latent: Latent
    labels: list[str]


class SampledSteps(NamedTuple):
    """The result of sampling, and the model's inputs and predictions at chosen steps, with a label for each."""

    latent: Latent
    noisy: Latent
    denoised: Latent
    labels: list[str]


class Tokens(NamedTuple):
    """A table of tokens, as a picture and as text."""

    image: Image
    text: str


@node(
    "ForwardNoise",
    display_name="Forward noise",
    aliases=("noising", "timesteps", "diffusion process"),
    category="study",
)
def forward_noise(
    model: Model,
    latent: Latent,
    timesteps: Annotated[
        list[int], Field(ge=0, le=999, description="Timesteps to show: 0 is the clean image, 999 is almost pure noise.")
    ],
    seed: Annotated[Seed, Field(description="Seed of the noise; item i of the latent uses seed + i.")] = 0,
) -> NoisedLatents:
    """Show a latent as the model sees it in training: noised to the chosen timesteps t of the forward process.

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon with one epsilon for all t (Ho et al. 2020, eq. 4), on
    the scaled latent. The result is unscaled again for VAEDecode: one batch, ordered by timestep.
    """
    import torch

    from latentloom.nodes.diffusion.noise import first_noise

    check_channels(model, latent)
    space = space_of(model, latent.shape[2:])
    every = max(1, len(space.table) // 1000)
    sigmas = space.table[every - 1 :: every]  # one for each timestep
    _check_places("timesteps", timesteps, len(sigmas), latent)
    start, epsilon = scaled(latent.tensor(), model.info), first_noise(latent.shape, seed)
    found = [space.seen(space.noised(start, epsilon, s), s) for s in sigmas[timesteps].tolist()]
    labels = [f"t {t}, sigma {sigmas[t]:.3g}" for t in timesteps for _ in range(latent.shape[0])]
    return NoisedLatents(Latent(unscaled(torch.cat(found), model.info), downscale=latent.downscale), labels)


def _check_places(what: str, places: list[int], count: int, latent: Latent) -> None:
    """Raise BadValueError if there are no places, one is not below count, or a latent for each exceeds the limits."""
    if not places:
        raise BadValueError(f"there are no {what} to show", expected="at least one", got="none")
    if max(places) >= count:
        raise BadValueError(f"there are fewer {what}", expected=f"0..{count - 1}", got=str(max(places)))
    check_latent(latent, latent.shape[0] * len(places))


@node("LatentChannels", display_name="Latent channels", aliases=("view latent", "inspect"), category="study")
def latent_channels(
    latent: Latent,
    scale: Annotated[int, Field(ge=1, le=64, description="Pixels per latent cell, in each direction.")] = 8,
) -> Image:
    """Show each channel of a latent as a greyscale image, one row per batch item.

    Mid-grey is 0. Black and white are minus and plus the largest magnitude in the whole latent.
    """
    samples = latent.numpy()
    batch, channels, height, width = samples.shape
    check_size(width * scale, height * scale, batch * channels)
    limit = max(float(np.abs(samples).max()), 1e-6)
    grey = (samples / np.float32(2 * limit) + np.float32(0.5)).clip(0, 1)
    large = grey.repeat(scale, 2).repeat(scale, 3).reshape(-1, height * scale, width * scale)
    labels = [f"channel {n}\n{c.min():.1f} to {c.max():.1f}" for item in samples for n, c in enumerate(item)]
    return image_grid([Image(large[..., None].repeat(3, 3))], columns=channels, labels=labels)


@node(
    "PlotSchedules", display_name="Plot schedules", aliases=("sigmas", "chart", "compare schedulers"), category="study"
)
def plot_schedules(
    ctx: Context,
    model: Model,
    schedules: Annotated[list[ScheduleName], Field(description="Schedules, in the order of the legend.")],
    steps: Steps = 20,
    axis: Annotated[
        Scale, Field(description="Scale of the noise axis. A logarithmic axis omits the final 0."), Advanced()
    ] = "log",
    width: Annotated[int, Field(ge=400, le=1600, description="Size in pixels."), Advanced()] = 900,
    height: Annotated[int, Field(ge=300, le=1600, description="Size in pixels."), Advanced()] = 560,
) -> Image:
    """Plot the noise levels (sigmas) that a sampler visits under several schedules of one model."""
    if not schedules:
        raise BadValueError("there are no schedules to plot", expected="at least one", got="none")
    found = {name: schedule_of(ctx, model, name, steps).tolist() for name in dict.fromkeys(schedules)}
    title = f"Noise levels of {steps} steps" if steps > 1 else "Noise levels of 1 step"
    return Image(plot(found, (width, height), axis, title=title, x="step", y="sigma"))


@node(
    "KSamplerSteps",
    display_name="Sampler (shows steps)",
    aliases=("denoising steps", "intermediate"),
    category="study",
    device=True,
    economies=ECONOMIES,
)
def ksampler_steps(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    at: Annotated[
        list[int], Field(ge=0, le=10_000, description="Steps to show; 0 is the first, whose input is pure noise.")
    ],
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    denoise: Denoise = 1.0,
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
) -> SampledSteps:
    """Sample like KSampler, and show the model's input and its predicted image at chosen steps.

    `noisy` is the model's input, x / sqrt(sigma^2 + 1); `denoised` is its guided prediction of the image. Both are
    batches in the order of `at`, unscaled for VAEDecode. `latent` is the result, the same as KSampler's.
    """
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, denoise, latent)
    space = space_of(model, cells_for(model, latent), steps)
    _check_places("steps", at, max(0, len(sigmas) - 1), latent)
    seen: dict[int, tuple[Tensor, Tensor]] = {}

    def observe(index: int, x: Tensor, denoised: Tensor) -> None:
        if index in at:
            seen[index] = space.seen(x.cpu(), sigmas[index]), denoised.cpu()

    plan = Plan(sampler, sigmas, seed, noise_rule, cfg)
    result = sample_latent(ctx, model, positive, negative, latent, plan, observe)
    labels = [f"step {index}, sigma {sigmas[index]:.3g}" for index in at for _ in range(latent.shape[0])]
    noisy, denoised = (_batch(model, latent, [seen[index][part] for index in at]) for part in (0, 1))
    return SampledSteps(result, noisy, denoised, labels)


def _batch(model: Model, latent: Latent, found: list[Tensor]) -> Latent:
    import torch

    return Latent(unscaled(torch.cat(found), model.info), downscale=latent.downscale)


@node(
    "TokenTable",
    display_name="Table of tokens",
    aliases=("tokenizer", "token count", "inspect prompt"),
    category="study",
    device=True,
)
def token_table(
    ctx: Context,
    clip: Clip,
    text: Annotated[Text, Mentions(SOURCE), Field(max_length=10_000, description="The prompt.")] = "",
    grammar: Annotated[PromptGrammar, Advanced()] = "a1111",
    steps: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="Number of sampling steps; used only if the prompt names a step, as in [a:b:10].",
        ),
    ] = 20,
) -> Tokens:
    """Show how the text encoder reads a prompt: its tokens with their ids and weights, and which words are known.

    A prompt that changes during sampling is shown text by text.
    """
    with ctx.load(clip) as (encoder,):
        embeddings = Embeddings(ctx.mentioned, grammar, encoder, name_of(clip))
        tokenizer = clip_of(encoder, "TokenTable").tokenizer
        heading, rows, note = token_rows(tokenizer, text, grammar, steps, embeddings)
        warn_unusable(ctx, embeddings)
    return Tokens(Image(table(heading, rows, note)), as_text(heading, rows, note))


NODES = (forward_noise, latent_channels, plot_schedules, ksampler_steps, token_table)
