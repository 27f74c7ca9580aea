"""Custom sampling: the noise levels are a list of numbers that a workflow makes, splits and edits."""

from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import Field

from latentloom.engine import Advanced, Conditioning, Context, Latent, Model, Seed, node
from latentloom.engine.errors import BadValueError
from latentloom.nodes.diffusion.advice import warn_of_schedule
from latentloom.nodes.diffusion.plan import Plan, schedule_of
from latentloom.nodes.diffusion.run import sample_latent
from latentloom.nodes.noise import NoiseRule
from latentloom.nodes.sampling import (
    ECONOMIES,
    Cfg,
    Churn,
    Denoise,
    Eta,
    NoiseScale,
    SamplerName,
    ScheduleName,
    Steps,
    options,
)

MOST_SIGMAS = 10_001  # the most that Sigmas returns
SigmaList = Annotated[
    list[float],
    Field(ge=0, le=100_000, description="Noise levels in strictly falling order. The last one remains in the result."),
]


class Split(NamedTuple):
    """The sigmas of two runs that together make one run."""

    high: list[float]
    low: list[float]


@node(
    "Sigmas",
    aliases=("BasicScheduler", "BetaSamplingScheduler", "schedule", "scheduler", "noise levels"),
    category="sampling",
)
def sigmas(
    ctx: Context,
    model: Model,
    schedule: ScheduleName = "karras",
    steps: Steps = 20,
    denoise: Denoise = 1.0,
    latent: Latent | None = None,
) -> list[float]:
    """Return the sigmas (noise levels) of a schedule for a model, for use with SampleCustom.

    For some models they depend on the image size. It is taken from `latent`; without one, the training size is used.
    """
    warn_of_schedule(ctx, model, schedule)
    found: list[float] = schedule_of(ctx, model, schedule, steps, denoise, latent).tolist()
    return found


@node(
    "SplitSigmas",
    display_name="Split sigmas",
    aliases=("SplitSigmasDenoise", "refiner", "two stages"),
    category="sampling",
)
def split_sigmas(
    sigmas: SigmaList,
    step: Annotated[int, Field(ge=0, le=10_000, description="Number of steps in the first part.")] = 10,
    denoise: Annotated[
        float,
        Field(ge=0, le=1, description="Fraction of the steps in the second part, instead of `step`; 0 uses step."),
    ] = 0.0,
) -> Split:
    """Split a list of sigmas into two runs. The second starts where the first ends."""
    if denoise:
        step = max(0, len(sigmas) - 1 - round((len(sigmas) - 1) * denoise))
    if step >= len(sigmas):
        raise BadValueError("the list of sigmas is shorter", expected=f"0..{max(0, len(sigmas) - 1)}", got=str(step))
    return Split(sigmas[: step + 1], sigmas[step:])


@node("SetFirstSigma", display_name="Set first sigma", aliases=("sigma max",), category="sampling")
def set_first_sigma(
    sigmas: SigmaList,
    sigma: Annotated[float, Field(ge=0, le=100_000, description="Noise level at which the run starts.")] = 14.6,
) -> list[float]:
    """Replace the first sigma, for a model that has to start from another noise level than its schedule."""
    return [sigma, *sigmas[1:]]


@node(
    "SampleCustom",
    display_name="Sampler (own sigmas)",
    aliases=("SamplerCustom", "SamplerCustomAdvanced", "custom sampler", "sigmas", "guider"),
    category="sampling",
    device=True,
    economies=ECONOMIES,
)
def sample_custom(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    sigmas: SigmaList,
    sampler: SamplerName = "dpmpp_2m",
    seed: Seed = 0,
    cfg: Cfg = 7.0,
    add_noise: Annotated[
        bool,
        Field(
            description="Add noise before the first step. Turn it off to continue from a latent that is already noisy."
        ),
    ] = True,
    noise: Latent | None = None,
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
    eta: Annotated[Eta, Advanced()] = 1.0,
    s_noise: Annotated[NoiseScale, Advanced()] = 1.0,
    churn: Annotated[Churn, Advanced()] = 0.0,
) -> Latent:
    """Denoise a latent along a given list of sigmas, from Sigmas or written by hand.

    The list is used as it is: samplers that skip a level of a schedule (docs/samplers.md) skip none here. Times of
    conditionings are fractions of these steps. `noise` replaces the initial noise drawn from the seed.
    """
    import torch

    if len(sigmas) > MOST_SIGMAS:
        raise BadValueError("there are too many sigmas", expected=f"at most {MOST_SIGMAS}", got=str(len(sigmas)))
    if any(high <= low for high, low in pairwise(sigmas)):
        raise BadValueError(
            "the sigmas are not in falling order", expected="each lower than the one before", got=_start(sigmas)
        )
    levels = torch.tensor(sigmas, dtype=torch.float32)
    more = options(eta, s_noise, churn)
    plan = Plan(sampler, levels, seed, noise_rule, cfg, add_noise, noise, options=more)
    return sample_latent(ctx, model, positive, negative, latent, plan)


def _start(sigmas: list[float]) -> str:
    """Return the first few sigmas as text, for a message."""
    return ", ".join(f"{sigma:g}" for sigma in sigmas[:6]) + (", ..." if len(sigmas) > 6 else "")


NODES = (sigmas, split_sigmas, set_first_sigma, sample_custom)
