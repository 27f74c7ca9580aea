"""The sampling nodes: they denoise a latent, guided by conditioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from latentloom.engine import Advanced, Conditioning, Context, Latent, Model, Seed, Source, node
from latentloom.nodes.diffusion.plan import Plan, sigmas_of
from latentloom.nodes.diffusion.run import sample_latent
from latentloom.nodes.noise import NoiseRule

if TYPE_CHECKING:
    pass

Steps = Annotated[int, Field(ge=1, le=10_000, description="Number of sampling steps.")]
Cfg = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="Classifier-free guidance scale: how closely the image follows the prompt. 1 disables guidance "
        "and is twice as fast.",
    ),
]
SamplerName = Annotated[str, Source("samplers"), Field(description="Sampling method.")]
ScheduleName = Annotated[str, Source("schedules"), Field(description="Noise schedule: the noise level of each step.")]
Eta = Annotated[
    float,
    Field(
        ge=0,
        le=10,
        description="Amount of noise that an ancestral or SDE sampler adds at each step; 0 makes it deterministic.",
    ),
]
NoiseScale = Annotated[float, Field(ge=0, le=10, description="Standard deviation of the noise added during the steps.")]
Churn = Annotated[
    float,
    Field(
        ge=0,
        le=100,
        description="Noise that euler, heun and dpm_2 add and remove over the whole run (S_churn of Karras et al. "
        "2022).",
    ),
]
Denoise = Annotated[
    float,
    Field(ge=0, le=1, description="Denoise strength: 1 starts from pure noise; lower values keep more of the latent."),
]

ECONOMIES = 2  # 1: one forward pass per condition; 2: one per condition and batch item


def options(eta: float, s_noise: float, churn: float) -> dict[str, float]:
    """Return the options of a sampler, by the names of `sampler.OPTIONS`."""
    return {"eta": eta, "s_noise": s_noise, "churn": churn}


@node(
    "KSampler",
    display_name="Sampler",
    aliases=("denoise", "generate", "sampling", "steps", "cfg", "seed", "img2img"),
    category="sampling",
    device=True,
    economies=ECONOMIES,
)
def ksampler(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    denoise: Denoise = 1.0,
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
    noise: Latent | None = None,
) -> Latent:
    """Denoise a latent with a sampler and a noise schedule, using classifier-free guidance.

    `noise` replaces the initial noise drawn from the seed.
    """
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, denoise, latent)
    plan = Plan(sampler, sigmas, seed, noise_rule, cfg, noise=noise)
    return sample_latent(ctx, model, positive, negative, latent, plan)


@node(
    "KSamplerAdvanced",
    display_name="Sampler (advanced)",
    aliases=("refiner", "start at step", "two stages"),
    category="sampling",
    device=True,
    economies=ECONOMIES,
)
def ksampler_advanced(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Seed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    add_noise: Annotated[
        bool,
        Field(
            description="Add noise before the first step. Turn it off to continue from a latent that is already noisy."
        ),
    ] = True,
    start_step: Annotated[
        int, Field(ge=0, le=10_000, description="First step to run; 0 is the first of the schedule.")
    ] = 0,
    end_step: Annotated[
        int, Field(ge=0, le=10_000, description="Stop before this step. Values above `steps` run to the end.")
    ] = 10_000,
    leftover_noise: Annotated[bool, Field(description="Keep the noise that the remaining steps would remove.")] = False,
    noise_rule: Annotated[NoiseRule, Advanced()] = "per_item",
    noise: Latent | None = None,
    eta: Annotated[Eta, Advanced()] = 1.0,
    s_noise: Annotated[NoiseScale, Advanced()] = 1.0,
    churn: Annotated[Churn, Advanced()] = 0.0,
) -> Latent:
    """Run a range of a schedule's steps, so that several samplers or models can work on one image in turn.

    Parts with the same seed draw the same noise as one whole run (with noise_rule per_item). Multistep samplers, which
    use earlier steps, start anew in each part.
    """
    sigmas = sigmas_of(ctx, model, sampler, schedule, steps, 1.0, latent)
    whole = sigmas
    if end_step < len(sigmas) - 1:
        sigmas = sigmas[: end_step + 1].clone()
        sigmas[-1] = sigmas[-1] if leftover_noise else 0
    sigmas = sigmas[start_step:]
    plan = Plan(
        sampler, sigmas, seed, noise_rule, cfg, add_noise, noise, whole, start_step, options(eta, s_noise, churn)
    )
    return sample_latent(ctx, model, positive, negative, latent, plan)


NODES = (ksampler, ksampler_advanced)
